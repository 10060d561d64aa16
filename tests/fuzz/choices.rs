//! Bytes as a row of choices; when they end, the first of each is taken.

pub(crate) struct Choices<'b>(&'b [u8]);

impl<'b> Choices<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Below `count`.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        (usize::from(self.byte()) << 8 | usize::from(self.byte())) % count.max(1)
    }

    /// Half of the time the first, which is the good one.
    pub(crate) fn of<T: Copy>(&mut self, list: &[T]) -> T {
        let byte = usize::from(self.byte());
        if byte < 128 { list[0] } else { list[byte % list.len()] }
    }

    /// Any of them.
    pub(crate) fn any<T: Copy>(&mut self, list: &[T]) -> T {
        list[usize::from(self.byte()) % list.len()]
    }

    pub(crate) fn rest(&self) -> &'b [u8] {
        self.0
    }

    /// Some of the text replaced, inserted or taken away.
    pub(crate) fn alter(&mut self, text: &[u8], spare: &[&str]) -> Vec<u8> {
        let at = self.below(text.len() + 1);
        let until = (at + self.below(4)).min(text.len());
        let put: Vec<u8> = match self.byte() {
            0..100 => vec![self.byte()],
            100..200 => self.any(spare).as_bytes().to_vec(),
            _ => Vec::new(),
        };
        [&text[..at], &put, &text[until..]].concat()
    }
}
