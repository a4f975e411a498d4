//! Arguments that do not stand on the command line, as the Java launcher reads them: those in files, `java @FILE`, and those
//! in the environment, `JDK_JAVA_OPTIONS` (java(1)). Pure; reading either is a worker's affair.
//!
//! The environment can name no class, no archive and no module (the launcher refuses that, and the virtual machine what
//! `JAVA_TOOL_OPTIONS` has of it); but `--source` there makes a source of whatever file the command line names.

use super::database::Database;
use super::lookup::Source;
use super::script::{Launcher, java_takes_value};
use super::{Content, Invocation};

/// Files of one call that are read.
const MAX_FILES: usize = 8;
/// Arguments that are taken from them.
const MAX_ARGUMENTS: usize = 4096;
/// Bytes of a file: a class path of thousands of archives takes less.
pub const MAX_BYTES: usize = 256 * 1024;

/// The variable that has options of the launcher, since Java 9.
pub const VARIABLE: &[u8] = b"JDK_JAVA_OPTIONS=";

impl Database {
    /// Whether a call is one of the Java launcher, as far as is known of what it executes: by the content, and by the name
    /// where that is not known.
    pub fn is_java(&self, call: &Invocation<'_>, content: Option<&Content>) -> bool {
        let family = match content.and_then(|content| content.recognised.as_ref()) {
            Some(recognition) => self.family(&recognition.family),
            None => self.find(call.path, Source::File).map(|hit| hit.family),
        };
        family.is_some_and(|family| family.runs == Some(Launcher::Java))
    }
}

/// The arguments as the launcher has them when its environment has options; `value` is what follows the `=`.
pub fn with_environment(arguments: &[Vec<u8>], value: &[u8]) -> Vec<Vec<u8>> {
    let Some((program, rest)) = arguments.split_first() else { return Vec::new() };
    let mut all = vec![program.clone()];
    all.extend(words_of_value(value).into_iter().take(MAX_ARGUMENTS));
    all.extend_from_slice(rest);
    all
}

/// As JLI_AddArgsFromEnvVar in the launcher's args.c: parted by white space, quoted by either quote, nothing escaped.
fn words_of_value(value: &[u8]) -> Vec<Vec<u8>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<Vec<u8>>, None);
    for &byte in value {
        match byte {
            _ if quote == Some(byte) => quote = None,
            _ if quote.is_some() => word.get_or_insert_default().push(byte),
            b'"' | b'\'' => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            b' ' | b'\t'..=b'\r' => words.extend(word.take()),
            _ => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    words
}

/// Whether any argument may be a file of arguments.
pub fn names_files(arguments: &[Vec<u8>]) -> bool {
    arguments.iter().skip(1).any(|argument| file_name(argument).is_some())
}

fn file_name(argument: &[u8]) -> Option<&[u8]> {
    argument.strip_prefix(b"@").filter(|name| !name.is_empty() && !name.starts_with(b"@"))
}

/// The arguments with those that the files hold in place of the files; `read` gives a file's bytes by its name. After the
/// main class nothing is a file of arguments any more, and none names another.
pub fn expand(arguments: &[Vec<u8>], mut read: impl FnMut(&[u8]) -> Option<Vec<u8>>) -> Vec<Vec<u8>> {
    let (mut expanded, mut files) = (Vec::new(), 0);
    let (mut is_over, mut is_value) = (false, false);
    for (index, argument) in arguments.iter().enumerate() {
        let file = file_name(argument).filter(|_| index > 0 && !is_over && files < MAX_FILES);
        let words = match file {
            Some(name) => {
                files += 1;
                words(&read(name).unwrap_or_default())
            }
            None => vec![argument.clone()],
        };
        for word in words.into_iter().take(MAX_ARGUMENTS.saturating_sub(expanded.len())) {
            // As checkArg does in the launcher's args.c.
            let is_option = word.starts_with(b"-");
            is_over |= index > 0 && (word == b"--disable-@files" || !is_option && !is_value);
            is_value = is_option && java_takes_value(&word);
            expanded.push(word);
        }
    }
    expanded
}

/// The words of such a file: parted by white space, quoted by either quote, escaped by a backslash; `#` begins a comment.
fn words(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let (mut word, mut quote): (Option<Vec<u8>>, Option<u8>) = (None, None);
    let mut rest = bytes.iter().copied();
    while let Some(byte) = rest.next() {
        match byte {
            b'\\' => {
                let escaped = match rest.next() {
                    Some(b'n') => b'\n',
                    Some(b'r') => b'\r',
                    Some(b't') => b'\t',
                    Some(b'f') => 0x0c,
                    // The line goes on in the next one.
                    Some(b'\n' | b'\r') | None => continue,
                    Some(other) => other,
                };
                word.get_or_insert_default().push(escaped);
            }
            _ if quote == Some(byte) => quote = None,
            _ if quote.is_some() => word.get_or_insert_default().push(byte),
            b'"' | b'\'' => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            b'#' => {
                words.extend(word.take());
                let _ = rest.find(|byte| matches!(byte, b'\n' | b'\r'));
            }
            b' ' | b'\t' | b'\n' | b'\r' | 0x0c => words.extend(word.take()),
            _ => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use crate::fingerprint::{Evidence, Kind};
    use crate::noise::Random;

    fn split(text: &str) -> Vec<Vec<u8>> {
        text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    fn text(words: &[Vec<u8>]) -> Vec<String> {
        words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }

    #[test]
    fn words_are_quoted_escaped_and_commented() {
        for (file, expected) in [
            ("", &[][..]),
            (" a\tb\r\nc ", &["a", "b", "c"]),
            ("-cp \"a b\" 'c d'e\n", &["-cp", "a b", "c de"]),
            ("# all of it\na#b\nc", &["a", "c"]),
            (r#""c:\\x\ty" a\nb"#, &["c:\\x\ty", "a\nb"]),
            ("\"one\\\n two\"", &["one two"]),
            ("'' \"open # end", &["", "open # end"]),
            ("end\\", &["end"]),
        ] {
            assert_eq!(text(&words(file.as_bytes())), expected, "{file:?}");
        }
    }

    #[test]
    fn files_stand_for_what_they_hold_until_the_main_class() {
        let read = |name: &[u8]| match name {
            b"f" => Some(b"-cp x com.sun.tools.javac.Main".to_vec()),
            b"cp" => Some(b"a.jar:b.jar".to_vec()),
            b"nested" => Some(b"@f".to_vec()),
            _ => None,
        };
        for (call, expected) in [
            ("java @f A.java", "java -cp x com.sun.tools.javac.Main A.java"),
            ("java @f @f", "java -cp x com.sun.tools.javac.Main @f"),
            ("java -cp @cp @f", "java -cp a.jar:b.jar -cp x com.sun.tools.javac.Main"),
            ("java -cp @cp Main @f", "java -cp a.jar:b.jar Main @f"),
            ("java -jar app.jar @f", "java -jar app.jar @f"),
            ("java --disable-@files @f", "java --disable-@files @f"),
            ("java -Xmx1g @nested @f", "java -Xmx1g @f @f"),
            ("java @none Main", "java Main"),
            ("java @@f @", "java @@f @"),
            ("@f @f", "@f -cp x com.sun.tools.javac.Main"),
        ] {
            assert_eq!(text(&expand(&split(call), read)).join(" "), expected, "{call}");
        }
        assert_eq!(expand(&[], read), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn what_the_file_names_is_judged() {
        let database = Database::builtin().unwrap();
        let call = |path, args| Invocation { path, comm: b"", args: Some(args) };
        let (plain, without) = (split("java @f A.java"), split("java A.java"));
        assert!(database.is_java(&call(b"/usr/bin/java", &plain), None));
        assert!(!database.is_java(&call(b"/usr/bin/gcc", &plain), None));
        assert!(names_files(&plain) && !names_files(&without));
        let expanded = expand(&plain, |_| Some(b"com.sun.tools.javac.Main".to_vec()));
        let verdict = database.judge(&call(b"/usr/bin/java", &expanded), None).verdict;
        assert_eq!((verdict.family.as_str(), verdict.kind), ("javac", Kind::Compiler));
        assert_eq!(verdict.evidence, [Evidence::Arguments]);
    }

    #[test]
    fn options_of_the_environment_stand_before_the_others() {
        let call = split("java A -x");
        for (value, expected) in [
            ("", "java A -x"),
            (" --source 17\t", "java --source 17 A -x"),
            ("-Dx='a b'\"c\"\n-ea", "java -Dx=a bc -ea A -x"),
            ("'open --source", "java open --source A -x"),
            ("-Dx=\\ -ea", "java -Dx=\\ -ea A -x"),
        ] {
            assert_eq!(text(&with_environment(&call, value.as_bytes())).join(" "), expected, "{value:?}");
        }
        assert_eq!(with_environment(&[], b"-ea"), Vec::<Vec<u8>>::new());
        let database = Database::builtin().unwrap();
        let family = |arguments: &[Vec<u8>]| {
            let call = Invocation { path: b"/usr/bin/java", comm: b"", args: Some(arguments) };
            database.judge(&call, None).verdict.family
        };
        assert_eq!(family(&call), "java");
        assert_eq!(family(&with_environment(&call, b"--source 17")), "javac");
        let in_a_file = expand(&with_environment(&call, b"@f"), |_| Some(b"--source 17".to_vec()));
        assert_eq!(family(&in_a_file), "javac");
        assert_eq!(with_environment(&call, &b"-a ".repeat(10_000)).len(), MAX_ARGUMENTS + 3);
    }

    #[test]
    fn hostile_files_are_bounded() {
        let many = vec![b"@f".to_vec(); 100];
        let mut asked = 0;
        let expanded = expand(&many, |_| {
            asked += 1;
            Some(b"-a ".repeat(MAX_BYTES / 3))
        });
        assert_eq!((asked, expanded.len()), (MAX_FILES, MAX_ARGUMENTS));
        let mut random = Random::new(9);
        for length in 0..2000 {
            let bytes: Vec<u8> = (0..length % 64).map(|_| b"\\\"'# \nan"[random.below(8)]).collect();
            words(&bytes);
        }
    }
}
