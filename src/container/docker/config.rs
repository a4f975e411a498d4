//! Pure: a container's config.v2.json, and the image reference in it, to what an alert shows.
//! All of it is text that users chose; it is bounded here and escaped where it is printed.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::container::Metadata;
use crate::container::cgroup::shape::is_digest;
use crate::escape::cut;
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

/// The fields that are wanted of Go's `container.Container` (moby, container/container.go). What has another type than
/// Go would write costs itself alone.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    name: Option<Typed<String>>,
    /// `sha256:` and the image's id.
    image: Option<Typed<String>>,
    config: Option<Typed<Config>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Config {
    /// The image as the user named it.
    image: Option<Typed<String>>,
    labels: Option<Typed<BTreeMap<String, Typed<String>>>>,
}

/// Something of the type that it should have, or of another.
#[derive(Deserialize)]
#[serde(untagged)]
enum Typed<T> {
    Right(T),
    Wrong(IgnoredAny),
}

impl<T> Typed<T> {
    fn right(self) -> Option<T> {
        match self {
            Self::Right(value) => Some(value),
            Self::Wrong(_) => None,
        }
    }
}

/// Reads the bytes of a config.v2.json.
///
/// # Errors
/// [`Missing::Malformed`] where they are no JSON object.
pub(super) fn parse(bytes: &[u8]) -> Field<Metadata> {
    let container: Container = serde_json::from_slice(bytes).map_err(|_| Missing::Malformed)?;
    let name = container.name.and_then(Typed::right);
    let image_id = container.image.and_then(Typed::right);
    let config = container.config.and_then(Typed::right).unwrap_or_default();
    let image = config.image.and_then(Typed::right);
    let (image_name, image_tag) = image.as_deref().map_or((None, None), split_reference);
    let (labels, labels_cut) = match config.labels {
        Some(Typed::Right(labels)) => bounded(labels),
        Some(Typed::Wrong(_)) => (BTreeMap::new(), true),
        None => (BTreeMap::new(), false),
    };
    Ok(Metadata {
        name: name.as_deref().map(|name| name.strip_prefix('/').unwrap_or(name)).and_then(text),
        image_name: image_name.and_then(text),
        image_tag: image_tag.and_then(text),
        image_id: image_id.as_deref().and_then(text),
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
    is_digest(reference.strip_prefix("sha256:").unwrap_or(reference).as_bytes())
}

fn text(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| cut(value, TEXT_LIMIT).to_owned())
}

/// The labels that are kept, and whether anything of the others was not.
fn bounded(labels: BTreeMap<String, Typed<String>>) -> (BTreeMap<String, String>, bool) {
    let names_project = |key: &str| {
        key.starts_with("com.docker.compose.")
            || key.starts_with("com.docker.swarm.")
            || key.starts_with("io.kubernetes.")
            || key.starts_with("org.opencontainers.image.")
    };
    let (first, rest): (Vec<_>, Vec<_>) = labels.into_iter().partition(|(key, _)| names_project(key));
    let mut left = LABELS_LIMIT;
    let mut kept = BTreeMap::new();
    let mut anything_cut = false;
    for (key, whole) in first.into_iter().chain(rest) {
        let Typed::Right(whole) = whole else {
            anything_cut = true;
            continue;
        };
        let value = cut(&whole, VALUE_LIMIT);
        let size = key.len() + value.len();
        let fits = !key.is_empty() && key.len() <= KEY_LIMIT && size <= left && kept.len() < LABELS;
        anything_cut |= !fits || value.len() < whole.len();
        if fits {
            left -= size;
            kept.insert(key, value.to_owned());
        }
    }
    (kept, anything_cut)
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
        for json in
            ["{}", r#"{"Name":null,"Config":null}"#, r#"{"Config":{"Labels":null}}"#, r#"{"Name":"","Image":""}"#]
        {
            assert_eq!(parse(json.as_bytes()), Ok(Metadata::default()), "{json}");
        }
        assert_eq!(parse(br#"{"Name":"/a\"b\nc\u001b[31m"}"#).unwrap().name.as_deref(), Some("a\"b\nc\u{1b}[31m"));
        assert_eq!(parse(br#"{"Name":"//a"}"#).unwrap().name.as_deref(), Some("/a"));
        let deep = "[".repeat(100_000);
        for json in [
            "",
            "null",
            "[]",
            r#"{"Name":"a","Name":"b"}"#,
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
    fn what_has_another_type_costs_itself_alone() {
        let read = |config: &str, labels: &str| {
            let json = format!(r#"{{"Name":"/web","Image":7,"Config":{config}}}"#);
            parse(json.replace("LABELS", labels).as_bytes()).unwrap()
        };
        let config = r#"{"Image":"shop/web:1.4","Labels":LABELS}"#;
        for labels in [r#"{"a":1,"b":"kept"}"#, r#"{"a":{"b":[null]},"b":"kept"}"#] {
            let metadata = read(config, labels);
            assert_eq!((metadata.name.as_deref(), metadata.image_name.as_deref()), (Some("web"), Some("shop/web")));
            assert_eq!(metadata.labels, BTreeMap::from([("b".to_owned(), "kept".to_owned())]));
            assert!(metadata.labels_cut && metadata.image_id.is_none());
        }
        for labels in ["[]", "1", r#"["a"]"#, r#""a""#] {
            let metadata = read(config, labels);
            assert_eq!((metadata.image_tag.as_deref(), metadata.labels_cut), (Some("1.4"), true), "{labels}");
        }
        for config in ["1", "[]", r#""a""#] {
            assert_eq!(read(config, "").name.as_deref(), Some("web"), "{config}");
        }
        assert_eq!(parse(br#"{"Name":1}"#), Ok(Metadata::default()));
    }

    fn typed(labels: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, Typed<String>> {
        labels.into_iter().map(|(key, value)| (key, Typed::Right(value))).collect()
    }

    #[test]
    fn labels_are_bounded() {
        let mut labels: BTreeMap<String, String> = (0..200).map(|n| (format!("k{n:03}"), n.to_string())).collect();
        labels.insert("com.docker.compose.project".into(), "shop".into());
        labels.insert("a".repeat(257), "long key".into());
        labels.insert("a".repeat(256), "\u{20ac}".repeat(400));
        let (kept, cut) = bounded(typed(labels));
        assert!(cut);
        assert_eq!(kept.len(), LABELS);
        assert_eq!(kept["com.docker.compose.project"], "shop");
        assert_eq!(kept[&"a".repeat(256)].len(), 1023, "cut between two characters of three bytes");
        assert!(!kept.contains_key(&"a".repeat(257)));
        let (large, cut) = bounded(typed((0..64).map(|n| (n.to_string(), "x".repeat(2000)))));
        assert_eq!((large.len(), cut), (15, true), "no more than 16 KiB altogether");
    }

    #[test]
    fn whatever_is_cut_of_the_labels_is_known() {
        let cut = |key: String, value: String| bounded(typed([(key, value)])).1;
        assert!(!cut("k".repeat(KEY_LIMIT), "v".repeat(VALUE_LIMIT)));
        assert!(cut("k".repeat(KEY_LIMIT + 1), "v".into()));
        assert!(cut("k".into(), "v".repeat(VALUE_LIMIT + 1)));
        let many = |count: usize| bounded(typed((0..count).map(|n| (format!("k{n}"), String::new())))).1;
        assert_eq!((many(LABELS), many(LABELS + 1)), (false, true));
        let json = format!(r#"{{"Config":{{"Labels":{{"k":"{}"}}}}}}"#, "v".repeat(VALUE_LIMIT + 1));
        assert!(parse(json.as_bytes()).unwrap().labels_cut);
    }
}
