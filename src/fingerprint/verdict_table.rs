//! Names against contents, one row a case, after the table in `judge`. Test only.

#![allow(clippy::unwrap_used, clippy::panic)]

use super::{Confidence, Content, ContentSays, Database, Evidence, Invocation, Kind, Recognition};

const DATABASE: &str = "
    schema = 1
    [[family]]
    family = 'unknown'
    kind = 'compiler'
    names = ['{cc,c++}[-version]']
    [[family]]
    family = 'unknown'
    kind = 'linker'
    file-names = ['ld[-version]']
    [[family]]
    family = 'driver'
    kind = 'compiler'
    toolchain = 'gnu'
    names = ['[triplet-]driver[-version]']
    [[family]]
    family = 'internal'
    kind = 'compiler-internal'
    toolchain = 'gnu'
    names = ['internal']
    paths = ['lib/internal/<version>/part']
    [[family]]
    family = 'other'
    kind = 'compiler'
    toolchain = 'other'
    names = ['other']
    [[family]]
    family = 'linker'
    kind = 'linker'
    names = ['linker']
    [[family]]
    family = 'java'
    kind = 'not-compiler'
    names = ['java']
    runs = 'java'
    [[family]]
    family = 'javac'
    kind = 'compiler'
    java-classes = ['com.sun.tools.javac.Main']
    [[family]]
    family = 'shell'
    kind = 'not-compiler'
    names = ['sh']
    runs = 'script'
    [[family]]
    family = 'loader'
    kind = 'not-compiler'
    names = ['ld.so']
    runs = 'loader'
    [[family]]
    family = 'multicall'
    kind = 'not-compiler'
    names = ['multicall']
    wrapper = true
    [[family]]
    family = 'archiver'
    kind = 'build-tool'
    names = ['archiver']
    [[content]]
    family = 'driver'
    marks = ['mark of driver']
    also-named = ['[triplet-]cpp[-version]', 'c89']
";

/// What a content may say in the table.
fn content(says: &str) -> Option<Content> {
    let family = |family: &str, kind, toolchain: Option<&str>, evidence, confidence| {
        let recognised = Recognition {
            family: family.to_owned(),
            kind,
            toolchain: toolchain.map(str::to_owned),
            version: Some("7.1".to_owned()),
            confidence,
            evidence: vec![evidence],
        };
        Content { elf: true, recognised: Some(recognised), ..Content::default() }
    };
    let (marker, high) = (Evidence::Marker, Confidence::High);
    Some(match says {
        "-" => return None,
        "nothing" => Content { elf: true, ..Content::default() },
        "good" => Content { elf: true, known_good: true, ..Content::default() },
        "structure" => Content { elf: true, structure: true, ..Content::default() },
        "packed" => Content { elf: true, packed: true, ..Content::default() },
        "unpacked" => Content { unpacked: true, ..content("packed")? },
        "packed!" => Content { known_good: true, ..content("packed")? },
        "packed-archiver" => Content { packed: true, ..content("archiver")? },
        "cut" => Content { elf: true, truncated: true, unsearched: true, ..Content::default() },
        "appended" => Content { elf: true, truncated: true, ..Content::default() },
        "changed" => Content { elf: true, changed: true, ..Content::default() },
        "archiver?" => Content { changed: true, ..content("archiver")? },
        "driver?" => Content { changed: true, ..content("driver")? },
        "driver" => family("driver", Kind::Compiler, Some("gnu"), marker, high),
        "driver!" => family("driver", Kind::Compiler, Some("gnu"), Evidence::Sha256, Confidence::Certain),
        "internal" => family("internal", Kind::CompilerInternal, Some("gnu"), marker, high),
        "other" => family("other", Kind::Compiler, Some("other"), marker, high),
        "linker" => family("linker", Kind::Linker, None, marker, high),
        "java" => family("java", Kind::NotCompiler, None, marker, high),
        "loader" => family("loader", Kind::NotCompiler, None, marker, high),
        "shell" => family("shell", Kind::NotCompiler, None, marker, high),
        "multicall" => family("multicall", Kind::NotCompiler, None, marker, high),
        "archiver" => family("archiver", Kind::BuildTool, None, marker, high),
        _ => panic!("{says}"),
    })
}

/// path, comm and arguments (`=` both as the path's base), content, kind, family, confidence, masquerade, evidence.
const ROWS: &str = "
# the name says compiler, and so does the content
/usr/bin/driver                   =  driver     compiler          driver     high    -  name marker
/usr/bin/driver                   =  driver!    compiler          driver     certain -  name sha256
/usr/bin/x86_64-linux-gnu-driver-12 = driver    compiler          driver     high    -  name marker
/lib/internal/12/part             =  internal   compiler-internal internal   high    -  name,path marker
# and the content is not known
/usr/bin/driver                   =  -          compiler          driver     low     -  name
/usr/bin/driver                   =  nothing    compiler          driver     low     -  name
/usr/bin/driver                   =  structure  compiler          driver     low     -  name structure
/usr/bin/driver                   =  packed     compiler          driver     low     -  name packed
/usr/bin/driver                   =  cut        compiler          driver     low     -  name read-limit
# and the content is something else
/usr/bin/driver                   =  other      compiler          other      high    m  marker
/usr/bin/driver                   =  linker     linker            linker     high    m  marker
/usr/bin/driver                   =  good       not-compiler      unknown    certain -  sha256
/usr/bin/driver                   =  archiver   build-tool        archiver   high    -  marker
/usr/bin/driver                   =  shell      not-compiler      shell      high    -  marker
/usr/bin/driver                   =  multicall  not-compiler      multicall  high    -  marker
# a kin of one toolchain surprises nobody
/usr/bin/internal                 =  driver     compiler          driver     high    -  name marker
/usr/bin/driver                   =  internal   compiler-internal internal   high    -  name marker
# a name that claims a kind alone
/usr/bin/cc                       =  driver     compiler          driver     high    -  name marker
/usr/bin/c++-12                   =  other      compiler          other      high    -  name marker
/usr/bin/cc                       =  internal   compiler-internal internal   high    -  name marker
/usr/bin/ld                       =  linker     linker            linker     high    -  name marker
/usr/bin/ld                       =  driver     compiler          driver     high    m  marker
/usr/bin/cc                       =  linker     linker            linker     high    m  marker
# the content says compiler, the name does not
/tmp/x                            =  driver     compiler          driver     high    m  marker
/tmp/x                            =  driver!    compiler          driver     certain m  sha256
/usr/bin/java                     =  driver     compiler          driver     high    m  marker
/usr/bin/archiver                 =  driver     compiler          driver     high    m  marker
/memfd:x                          =  driver     compiler          driver     high    m  marker
/memfd:driver                     =  driver     compiler          driver     high    -  name marker
# but the name is usual for it
/usr/bin/cpp                      =  driver     compiler          driver     high    -  marker
/usr/bin/avr-cpp-5.4              =  driver     compiler          driver     high    -  marker
/usr/bin/c89                      =  driver     compiler          driver     high    -  marker
/usr/bin/cpp                      =  other      compiler          other      high    m  marker
/opt/part                         =  internal   compiler-internal internal   high    -  marker
/usr/bin/x86_64-linux-gnu-other-3 =  other      compiler          other      high    -  marker
# masquerade is the file's own name's affair
/usr/bin/driver            other,other  driver  compiler          driver     high    -  name marker
/tmp/x                     driver,driver  driver  compiler        driver     high    m  marker
(unknown)                  x,x        driver     compiler          driver     high    -  marker
# only the structure of a compiler, or nothing
/tmp/x                            =  structure  compiler          unknown    low     -  structure
/tmp/x                            =  nothing    not-compiler      unknown    low     -
/tmp/x                            =  packed     compiler          unknown    low     -  packed
/tmp/x                            =  unpacked   not-compiler      unknown    low     -  packed
/tmp/x                            =  packed!    not-compiler      unknown    certain -  sha256 packed
/tmp/x                            =  packed-archiver compiler     unknown    low     -  packed
/tmp/x                            =  cut        not-compiler      unknown    low     -  read-limit
/tmp/x                            =  appended   not-compiler      unknown    low     -  read-limit
/tmp/x                            =  changed    not-compiler      unknown    low     -
/tmp/x                            =  good       not-compiler      unknown    certain -  sha256
# a process may call itself what it likes, unless its file is known
/tmp/x                     driver,driver  nothing    compiler     driver     low     -  name
/tmp/x                     driver,driver  good       not-compiler unknown    certain -  sha256
/tmp/x                     driver,driver  archiver   build-tool   archiver   high    -  marker
/tmp/x                     driver,driver  multicall  not-compiler multicall  high    -  marker
/tmp/x                     driver,sh      shell      compiler     driver     low     -  script
# what runs others' code is told by its arguments, whatever it is called
/usr/bin/java  java,java~com.sun.tools.javac.Main~A.java  java     compiler  javac  low  -  arguments
/tmp/x         x,x~com.sun.tools.javac.Main~A.java        java     compiler  javac  low  -  arguments
/tmp/x         x,x~com.sun.tools.javac.Main~A.java        nothing  not-compiler  unknown  low  -
/usr/bin/java  java,java~com.sun.tools.javac.Main~A.java  good     compiler  javac  low  -  arguments
/usr/bin/driver driver,driver~com.sun.tools.javac.Main    java     compiler  javac  low  -  arguments
/usr/bin/java  java,java~-version                         java     not-compiler  java  high -  marker
";

#[test]
fn names_and_contents_make_the_verdict_of_the_table() {
    let database = Database::parse(DATABASE).unwrap();
    for row in ROWS.lines().map(str::trim).filter(|row| !row.is_empty() && !row.starts_with('#')) {
        let mut words = row.split_whitespace();
        let mut word = || words.next().unwrap_or_else(|| panic!("{row}"));
        let [path, process, says, kind, family, confidence, masquerade] = std::array::from_fn(|_| word());
        let evidence: Vec<&str> = words.flat_map(|word| word.split(',')).collect();
        let path = if path == "(unknown)" { "" } else { path };
        let base = path.rsplit('/').next().unwrap_or_default();
        let (comm, args) = process.split_once(',').unwrap_or((base, base));
        let args: Vec<Vec<u8>> = args.split('~').map(|arg| arg.as_bytes().to_vec()).collect();
        let call = Invocation { path: path.as_bytes(), comm: comm.as_bytes(), args: Some(&args) };
        let content = content(says);
        let verdict = database.judge(&call, content.as_ref()).verdict;
        assert_eq!(verdict.kind.as_str(), kind, "{row}");
        assert_eq!(verdict.family, family, "{row}");
        assert_eq!(verdict.confidence.as_str(), confidence, "{row}");
        assert_eq!(verdict.masquerade, masquerade == "m", "{row}");
        assert_eq!(verdict.evidence.iter().map(|e| e.as_str()).collect::<Vec<_>>(), evidence, "{row}");
        assert_eq!(verdict.packed, says.contains("packed"), "{row}");
    }
}

#[test]
fn the_version_is_the_contents_before_the_names() {
    let database = Database::parse(DATABASE).unwrap();
    let call = Invocation { path: b"/usr/bin/driver-12", comm: b"driver-12", args: None };
    let version = |content: Option<Content>| database.judge(&call, content.as_ref()).verdict.version;
    assert_eq!(version(content("driver")).as_deref(), Some("7.1"));
    assert_eq!(version(content("nothing")).as_deref(), Some("12"));
    let mut unversioned = content("driver").unwrap();
    unversioned.recognised.as_mut().unwrap().version = None;
    assert_eq!(version(Some(unversioned)).as_deref(), Some("12"));
}

#[test]
fn a_content_alone_tells_whether_its_execs_concern_us() {
    use ContentSays::{ByArguments, Innocent, Loader, Toolchain, Unknown};
    let database = Database::parse(DATABASE).unwrap();
    for (says, expected) in [
        ("driver", Toolchain),
        ("linker", Toolchain),
        ("structure", Toolchain),
        ("java", ByArguments),
        ("loader", Loader),
        ("shell", Innocent),
        ("multicall", Innocent),
        ("archiver", Innocent),
        ("good", Innocent),
        ("nothing", Innocent),
        ("packed", Toolchain),
        ("unpacked", Unknown),
        ("packed!", Innocent),
        ("packed-archiver", Toolchain),
        ("cut", Unknown),
        ("appended", Innocent),
        ("changed", Unknown),
        ("archiver?", Unknown),
        ("driver?", Toolchain),
    ] {
        assert_eq!(database.content_says(&content(says).unwrap()), expected, "{says}");
    }
}
