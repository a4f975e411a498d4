//! The entry of the database by which a file that was read is recognised again: for `ccwatch fingerprint --entry`, and so
//! for an administrator's own file in fingerprints.d.

use std::fmt::Write as _;

use super::database::UNKNOWN;
use super::{Content, Evidence, Kind, Verdict};
use crate::event::basename;
use crate::{escape, hex};

/// A shorter build-id is refused by the database.
const MIN_BUILD_ID: usize = 4;

/// The first line of a file of entries.
pub const HEAD: &str = "schema = 1\n";

/// The entry, TOML, with a comment that names the file; to stand below [`HEAD`]. Of a file that has a family the entry
/// adds the hashes to it; else a family is made of its name, whose kind the reader has to confirm. `None` where the
/// database has the file among those that are known to be good, where it has no hash at all, and where arguments or a
/// script spoke for it: another file's then, and these hashes would make a compiler of every call of this one.
pub fn entry(path: &[u8], content: &Content, verdict: &Verdict) -> Option<String> {
    let build_id = content.build_id.as_deref().filter(|id| id.len() >= MIN_BUILD_ID);
    let is_others = [Evidence::Arguments, Evidence::Script].iter().any(|evidence| verdict.evidence.contains(evidence));
    if is_others
        || content.known_good
        || (content.sha256.is_none() && content.code_hash.is_none() && build_id.is_none())
    {
        return None;
    }
    let mut text = format!("\n# {}\n", escape::bytes(path));
    let known = verdict.family != UNKNOWN;
    if !verdict.evidence.is_empty() && verdict.evidence.iter().all(|e| matches!(e, Evidence::Name | Evidence::Path)) {
        text.push_str("# Its name alone says so: see that it is one.\n");
    }
    let hash = content.sha256.as_ref().or(content.code_hash.as_ref()).map(<[u8; 32]>::as_slice).or(build_id);
    let family = if known { verdict.family.clone() } else { family_of(path, hash.unwrap_or_default()) };
    // A build-id clears nobody: who owns a file can write one.
    let build_id = build_id.filter(|_| !known || verdict.kind.is_toolchain());
    if !known {
        text.push_str("# It is of no known family: name it, and its kind, as they are.\n");
        let kind = if verdict.kind.is_toolchain() { verdict.kind } else { Kind::Compiler };
        let _ = writeln!(
            text,
            "[[family]]\nfamily = \"{family}\"\nkind = \"{}\"\ntoolchain = \"{family}\"\n",
            kind.as_str()
        );
    }
    let _ = writeln!(text, "[[content]]\nfamily = \"{family}\"");
    for (key, hash) in [
        ("sha256", content.sha256.as_ref().map(<[u8; 32]>::as_slice)),
        ("code-hashes", content.code_hash.as_ref().map(<[u8; 32]>::as_slice)),
        ("build-ids", build_id),
    ] {
        if let Some(hash) = hash {
            let _ = writeln!(text, "{key} = [\"{}\"]", hex::lower(hash));
        }
    }
    Some(text)
}

/// A family's name made of a file's, apart from all that the database has and from other files of that name.
fn family_of(path: &[u8], hash: &[u8]) -> String {
    let plain = |&b: &u8| if b.is_ascii_alphanumeric() || b"._-+".contains(&b) { char::from(b) } else { '-' };
    let base: String = basename(path).iter().take(64).map(plain).collect();
    format!("local-{base}-{}", hex::lower(hash.get(..4).unwrap_or(hash)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;
    use crate::fingerprint::Confidence;
    use crate::fingerprint::database::Database;
    use crate::fingerprint::raw::RawDatabase;

    fn content() -> Content {
        Content {
            sha256: Some([0xa1; 32]),
            code_hash: Some([0xb2; 32]),
            build_id: Some(vec![0xc3; 20]),
            elf: true,
            ..Content::default()
        }
    }

    fn verdict(kind: Kind, family: &str) -> Verdict {
        Verdict {
            kind,
            family: family.to_owned(),
            toolchain: None,
            version: None,
            confidence: Confidence::Low,
            evidence: Vec::new(),
            masquerade: false,
            packed: false,
        }
    }

    fn added(text: &str) -> Result<Database, String> {
        let mut raw = Database::builtin_entries()?;
        raw.add(RawDatabase::parse(&format!("{HEAD}{text}"))?)?;
        Database::compile(&raw)
    }

    #[test]
    fn an_entry_can_be_added_to_the_database() {
        for (kind, family, path) in [
            (Kind::Compiler, "tcc", "/usr/bin/tcc"),
            (Kind::NotCompiler, "python", "/usr/bin/python3"),
            (Kind::NotCompiler, UNKNOWN, "/opt/new\n[[family]]\u{202e}\"lang"),
            (Kind::Compiler, UNKNOWN, "/"),
        ] {
            let text = entry(path.as_bytes(), &content(), &verdict(kind, family)).unwrap();
            added(&text).unwrap_or_else(|reason| panic!("{reason}\n{text}"));
            assert_eq!(text.contains("build-ids"), family != "python", "{text}");
        }
    }

    #[test]
    fn what_has_no_hash_or_is_known_good_has_no_entry() {
        let verdict = verdict(Kind::Compiler, "tcc");
        assert_eq!(entry(b"f", &Content::default(), &verdict), None);
        assert_eq!(entry(b"f", &Content { known_good: true, ..content() }, &verdict), None);
        for evidence in [Evidence::Arguments, Evidence::Script] {
            let by_another = Verdict { evidence: vec![evidence], ..verdict.clone() };
            assert_eq!(entry(b"f", &content(), &by_another), None);
        }
        let named = Verdict { evidence: vec![Evidence::Name], ..verdict.clone() };
        assert!(entry(b"f", &content(), &named).unwrap().contains("name alone"));
        let short = Content { build_id: Some(vec![1]), ..Content::default() };
        assert_eq!(entry(b"f", &short, &verdict), None);
    }
}
