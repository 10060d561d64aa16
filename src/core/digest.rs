//! One digest of several texts (SHA-256, RFC 6234), for names that are made of them.

use aws_lc_rs::digest::{Context, SHA256};

/// Each part goes in with its length before it, so that no two lists have the same bytes.
pub fn of_parts(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    digest
}

#[cfg(test)]
mod tests {
    use super::of_parts;

    #[test]
    fn where_one_part_ends_counts() {
        assert_ne!(of_parts(&[b"ab", b"c"]), of_parts(&[b"a", b"bc"]));
        assert_ne!(of_parts(&[b"abc"]), of_parts(&[b"abc", b""]));
        assert_eq!(of_parts(&[b"ab", b"c"]), of_parts(&[b"ab", b"c"]));
    }
}
