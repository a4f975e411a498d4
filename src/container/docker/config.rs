//! Pure: a container's config.v2.json, and the image reference in it, to what an alert shows.
//! All of it is text that users chose; it is bounded here and escaped where it is printed.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::container::Metadata;
use crate::event::{Field, Missing};

/// Labels kept of a container: those that name its project first, then in the order of their keys.
const LABELS: usize = 64;
/// Bytes of a label's key; longer ones are left out, for a cut key could be another's.
const KEY_LIMIT: usize = 256;
/// Bytes of a label's value; longer ones are cut.
const VALUE_LIMIT: usize = 1024;
/// Bytes of all keys and values of a container together.
const LABELS_LIMIT: usize = 16 * 1024;
/// Bytes of a name or of an image reference; Docker allows fewer.
const TEXT_LIMIT: usize = 1024;

/// Reads the bytes of a config.v2.json.
///
/// # Errors
/// [`Missing::Malformed`] where they are no JSON object. A value of a wrong type is as good as none.
pub(super) fn parse(bytes: &[u8]) -> Field<Metadata> {
    // Go's container.Container (moby, container/container.go).
    let container: Map<String, Value> = serde_json::from_slice(bytes).map_err(|_| Missing::Malformed)?;
    let string = |key| container.get(key).and_then(Value::as_str);
    let config = |key| container.get("Config").and_then(|config| config.get(key));
    // The image as the user named it; beside it stands its id, with `sha256:`.
    let image = config("Image").and_then(Value::as_str);
    let (image_name, image_tag) = image.map_or((None, None), split_reference);
    let name = string("Name").map(|name| name.strip_prefix('/').unwrap_or(name));
    let (labels, labels_cut) = config("Labels").and_then(Value::as_object).map_or_else(Default::default, bounded);
    Ok(Metadata {
        name: name.and_then(text),
        image_name: image_name.and_then(text),
        image_tag: image_tag.and_then(text),
        image_id: string("Image").and_then(text),
        labels,
        labels_cut,
    })
}

/// Name and tag of `[host[:port]/]path[:tag][@digest]` (distribution/reference). A bare image id has neither.
pub(super) fn split_reference(reference: &str) -> (Option<&str>, Option<&str>) {
    let reference = reference.split_once('@').map_or(reference, |(named, _digest)| named);
    if is_id(reference) {
        return (None, None);
    }
    // A colon before the last slash belongs to the registry's port.
    let path = reference.rfind('/').map_or(0, |slash| slash + 1);
    match reference.get(path..).and_then(|last| last.split_once(':')) {
        Some((last, tag)) => (reference.get(..path + last.len()), Some(tag)),
        None => (Some(reference), None),
    }
}

fn is_id(reference: &str) -> bool {
    let digits = reference.strip_prefix("sha256:").unwrap_or(reference);
    digits.len() == 64 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn text(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| cut(value, TEXT_LIMIT).to_owned())
}

/// The longest beginning of at most `limit` bytes that ends between two characters.
fn cut(value: &str, limit: usize) -> &str {
    let end = (0..=limit.min(value.len())).rev().find(|at| value.is_char_boundary(*at)).unwrap_or(0);
    value.get(..end).unwrap_or_default()
}

/// The labels that are kept, and whether that is not all of them.
fn bounded(labels: &Map<String, Value>) -> (BTreeMap<String, String>, bool) {
    let names_project = |key: &str| {
        key.starts_with("com.docker.compose.")
            || key.starts_with("com.docker.swarm.")
            || key.starts_with("io.kubernetes.")
            || key.starts_with("org.opencontainers.image.")
    };
    let (first, rest): (Vec<_>, Vec<_>) = labels.iter().partition(|(key, _)| names_project(key));
    let (mut left, mut all) = (LABELS_LIMIT, true);
    let mut kept = BTreeMap::new();
    for (key, whole) in first.into_iter().chain(rest) {
        let value = whole.as_str().map(|whole| cut(whole, VALUE_LIMIT));
        all &= value.is_some_and(|value| Some(value) == whole.as_str());
        let Some(value) = value else { continue };
        let size = key.len() + value.len();
        if key.is_empty() || key.len() > KEY_LIMIT || size > left || kept.len() == LABELS {
            all = false;
            continue;
        }
        left -= size;
        kept.insert(key.clone(), value.to_owned());
    }
    (kept, !all)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    const ID: &str = "605439acbd4fb18c145069289094b17f17e0cfa938f78012d4960bc797305f22";

    #[test]
    fn image_references() {
        let table: &[(&str, Option<&str>, Option<&str>)] = &[
            ("nginx", Some("nginx"), None),
            ("nginx:1.25", Some("nginx"), Some("1.25")),
            ("shop/web:1.4", Some("shop/web"), Some("1.4")),
            ("registry:5000/shop/web", Some("registry:5000/shop/web"), None),
            ("registry:5000/shop/web:1.4", Some("registry:5000/shop/web"), Some("1.4")),
            ("registry:5000/web:1.4@sha256:abc", Some("registry:5000/web"), Some("1.4")),
            ("registry:5000/web@sha256:abc", Some("registry:5000/web"), None),
            ("localhost/web:latest", Some("localhost/web"), Some("latest")),
            ("605439acbd4f", Some("605439acbd4f"), None),
            (ID, None, None),
            (&format!("sha256:{ID}"), None, None),
            ("", Some(""), None),
            ("/", Some("/"), None),
            (":", Some(""), Some("")),
            ("a/b/:", Some("a/b/"), Some("")),
            ("\u{e9}/\u{e9}:\u{e9}", Some("\u{e9}/\u{e9}"), Some("\u{e9}")),
        ];
        for (reference, name, tag) in table {
            assert_eq!(split_reference(reference), (*name, *tag), "{reference:?}");
        }
    }

    #[test]
    fn a_container_as_dockerd_writes_it() {
        let json = format!(
            r#"{{"StreamConfig":{{}},"State":{{"Running":true,"Pid":13099}},"ID":"{ID}","Created":"2026-11-24T19:26:14Z",
            "Config":{{"Hostname":"945d5eb61f39","Env":["PATH=/bin"],"Image":"registry:5000/shop/web:1.4","Volumes":null,
            "Labels":{{"com.docker.compose.project":"shop","com.docker.compose.service":"web"}}}},
            "Image":"sha256:{ID}","Name":"/shop-web-1","Driver":"overlay2"}}"#
        );
        let metadata = parse(json.as_bytes()).unwrap();
        assert_eq!(metadata.name.as_deref(), Some("shop-web-1"));
        assert_eq!(metadata.image_name.as_deref(), Some("registry:5000/shop/web"));
        assert_eq!(metadata.image_tag.as_deref(), Some("1.4"));
        assert_eq!(metadata.image_id, Some(format!("sha256:{ID}")));
        assert_eq!(metadata.labels["com.docker.compose.project"], "shop");
        assert_eq!(metadata.labels.len(), 2);
        // Cut anywhere, it is no JSON any more.
        for end in 0..json.len() {
            assert_eq!(parse(&json.as_bytes()[..end]), Err(Missing::Malformed), "cut at {end}");
        }
    }

    #[test]
    fn hostile_and_meagre_json() {
        for json in [
            "{}",
            r#"{"Name":null,"Config":null}"#,
            r#"{"Name":1,"Config":[]}"#,
            r#"{"Config":{"Labels":null}}"#,
            r#"{"Name":"","Image":""}"#,
        ] {
            assert_eq!(parse(json.as_bytes()), Ok(Metadata::default()), "{json}");
        }
        assert_eq!(parse(br#"{"Name":"/a\"b\nc\u001b[31m"}"#).unwrap().name.as_deref(), Some("a\"b\nc\u{1b}[31m"));
        assert_eq!(parse(br#"{"Name":"//a"}"#).unwrap().name.as_deref(), Some("/a"));
        let deep = "[".repeat(100_000);
        for json in [
            "",
            "null",
            "[]",
            r#"{"Name":"\ud800"}"#,
            &deep,
            &format!(r#"{{"Other":{deep}"#),
            &format!(r#"{{"Config":{deep}"#),
            &format!(r#"{{"Config":{{"Labels":{{"a":{deep}"#),
        ] {
            assert_eq!(parse(json.as_bytes()), Err(Missing::Malformed), "{}", cut(json, 60));
        }
        assert_eq!(parse(b"{\"Name\":\"\xff\"}"), Err(Missing::Malformed));
        let name = format!(r#"{{"Name":"/{}"}}"#, "\u{e9}".repeat(600_000));
        assert_eq!(parse(name.as_bytes()).unwrap().name.unwrap().len(), TEXT_LIMIT);
    }

    #[test]
    fn labels_are_bounded() {
        let mut labels: BTreeMap<String, String> = (0..200).map(|n| (format!("k{n:03}"), n.to_string())).collect();
        labels.insert("com.docker.compose.project".into(), "shop".into());
        labels.insert("a".repeat(257), "long key".into());
        labels.insert("a".repeat(256), "\u{20ac}".repeat(400));
        let json = |labels: BTreeMap<String, String>| labels.into_iter().map(|(k, v)| (k, v.into())).collect();
        let (kept, cut) = bounded(&json(labels));
        assert!(cut);
        assert_eq!(kept.len(), LABELS);
        assert_eq!(kept["com.docker.compose.project"], "shop");
        assert_eq!(kept[&"a".repeat(256)].len(), 1023, "cut between two characters of three bytes");
        assert!(!kept.contains_key(&"a".repeat(257)));
        let (large, _) = bounded(&json((0..64).map(|n| (n.to_string(), "x".repeat(2000))).collect()));
        assert_eq!(large.len(), 15, "no more than 16 KiB altogether");
        assert!(!bounded(&json(kept)).1, "what was kept is kept whole");
    }

    #[test]
    fn one_value_of_a_wrong_type_costs_nothing_else() {
        let json = br#"{"Name": "/web", "Image": 7, "Config": {"Image": "shop:1", "Labels": {"a": 1, "b": "c"}}}"#;
        let metadata = parse(json).unwrap();
        assert_eq!((metadata.name.as_deref(), metadata.image_name.as_deref()), (Some("web"), Some("shop")));
        assert_eq!((metadata.image_id, metadata.labels_cut), (None, true));
        assert_eq!(metadata.labels, BTreeMap::from([("b".into(), "c".into())]));
    }
}
