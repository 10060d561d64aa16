//! What is wrong with a configuration: all of it, each with path, line and remedy.

use std::fmt;

/// One thing that is wrong, or that somebody should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// `routes[3].require.scope[0]`; empty for the file as a whole.
    pub path: String,
    /// From 1; 0 where there is no text.
    pub line: usize,
    pub column: usize,
    /// What is wrong; what would be right. Never a secret's value.
    pub message: String,
}

/// Everything that is wrong with one file, in the file's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The file as it was named.
    pub file: String,
    pub mistakes: Vec<Mistake>,
}

impl Mistake {
    /// One line: `config.yaml:12:7: path: message`.
    pub fn show(&self, file: &str) -> String {
        let mut shown = file.to_owned();
        if self.line > 0 {
            shown.push_str(&format!(":{}:{}", self.line, self.column));
        }
        if !self.path.is_empty() {
            shown.push_str(&format!(": {}", self.path));
        }
        format!("{shown}: {}", self.message)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&mistake.show(&self.file))?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
