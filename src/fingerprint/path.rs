//! Patterns for the directories of programs: `cc1` is gcc's wherever it lies, `compile` is Go's under pkg/tool alone.
//! They are anchored at the end of a path and matched component by component, each in one pass.

use super::name::{MAX_NAME, check_literal, expand, is_architecture};

/// One component of a path pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Component {
    /// `<triplet>`: `x86_64-linux-gnu`, `avr`.
    Triplet,
    /// Literal, then perhaps `<version>`, then perhaps a star, then literal.
    Glob { head: Box<[u8]>, version: bool, star: bool, tail: Box<[u8]> },
}

/// A compiled pattern for the last components of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathPattern {
    /// The last component: literal, the pattern is found by hashing it.
    pub(super) base: Box<[u8]>,
    /// The directory's components, the one nearest to the file first.
    directories: Vec<Component>,
}

impl PathPattern {
    /// Compiles a pattern such as `{gcc,gcc-cross}/*/<version>*/cc1`; it may make several.
    pub(super) fn parse(text: &str) -> Result<Vec<Self>, String> {
        let mut patterns = Vec::new();
        for path in expand(text)? {
            let mut components = path.split('/').rev();
            let base = components.next().unwrap_or_default();
            check_literal(base)?;
            if base.is_empty() {
                return Err("a path pattern ends with a file's name".to_owned());
            }
            let directories = components.map(Component::parse).collect::<Result<Vec<_>, _>>()?;
            if directories.is_empty() {
                return Err("a path pattern without a directory is a name pattern".to_owned());
            }
            patterns.push(Self { base: base.as_bytes().into(), directories });
        }
        Ok(patterns)
    }

    /// Whether a file's directory ends as the pattern says, the file's own name not looked at; the answer is the
    /// version that it tells.
    pub(super) fn matches<'a>(&self, path: &'a [u8]) -> Option<Option<&'a [u8]>> {
        let mut components = path.rsplit(|&b| b == b'/');
        components.next();
        let mut version = None;
        for pattern in &self.directories {
            let component = components.next().filter(|c| !c.is_empty() && c.len() <= MAX_NAME)?;
            version = pattern.matches(component)?.or(version);
        }
        Some(version)
    }
}

impl Component {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "<triplet>" {
            return Ok(Self::Triplet);
        }
        let (head, version, rest) = match text.split_once("<version>") {
            Some((head, rest)) => (head, true, rest),
            None => ("", false, text),
        };
        let (middle, star, tail) = match rest.split_once('*') {
            Some((middle, tail)) => (middle, true, tail),
            None if version => ("", false, rest),
            None => (rest, false, ""),
        };
        if version && !middle.is_empty() {
            return Err("a star follows a version at once, or not at all".to_owned());
        }
        let head = if version { head } else { middle };
        check_literal(head)?;
        check_literal(tail)?;
        if text.is_empty() {
            return Err("an empty component matches nothing".to_owned());
        }
        Ok(Self::Glob { head: head.as_bytes().into(), version, star, tail: tail.as_bytes().into() })
    }

    fn matches<'a>(&self, component: &'a [u8]) -> Option<Option<&'a [u8]>> {
        match self {
            Self::Triplet => {
                let first = component.split(|&b| b == b'-').next()?;
                is_architecture(first).then_some(None)
            }
            Self::Glob { head, version, star, tail } => {
                let mut rest = component.strip_prefix(&**head)?;
                let mut found = None;
                if *version {
                    let run = rest.iter().position(|b| !(b.is_ascii_digit() || *b == b'.')).unwrap_or(rest.len());
                    let (digits, after) = rest.split_at_checked(run)?;
                    let end = digits.iter().rposition(u8::is_ascii_digit)? + 1;
                    if !digits.first()?.is_ascii_digit() {
                        return None;
                    }
                    found = digits.get(..end);
                    rest = after;
                }
                let fits = if *star { rest.ends_with(tail) } else { rest == &**tail };
                fits.then_some(found)
            }
        }
    }
}
