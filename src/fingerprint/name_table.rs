//! Names and what they stand for, one row a file; and who may claim a name. Test only.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use super::{Candidate, Confidence, Content, Database, Evidence, Invocation, Judgement, Request};

/// path, kind, family, toolchain, version; `-` for none. A path stands for the executed file, with no comm of its own.
const FILES: &str = "
# gcc and its parts; triplets, versions, thread models
/usr/bin/gcc                                        compiler          gcc-driver      gnu   -
/usr/bin/gcc-12                                     compiler          gcc-driver      gnu   12
/usr/bin/gcc-4.8                                    compiler          gcc-driver      gnu   4.8
/usr/bin/gcc48                                      compiler          gcc-driver      gnu   48
/usr/bin/g++                                        compiler          gcc-driver      gnu   -
/usr/bin/g++-11                                     compiler          gcc-driver      gnu   11
/usr/bin/x86_64-linux-gnu-gcc-12                    compiler          gcc-driver      gnu   12
/usr/bin/x86_64-linux-gnu-g++-12                    compiler          gcc-driver      gnu   12
/usr/bin/x86_64-linux-gnu-cpp-12                    compiler          gcc-driver      gnu   12
/usr/bin/x86_64-linux-gnu-gfortran-11               compiler          gcc-driver      gnu   11
/usr/bin/x86_64-linux-gnu-gccgo-12                  compiler          gcc-driver      gnu   12
/usr/bin/x86_64-linux-gnu-gdc-12                    compiler          gcc-driver      gnu   12
/usr/bin/x86_64-linux-gnu-gm2-12                    compiler          gcc-driver      gnu   12
/usr/bin/x86_64-redhat-linux-gcc-11                 compiler          gcc-driver      gnu   11
/usr/bin/x86_64-pc-linux-gnu-gcc-13.2.0             compiler          gcc-driver      gnu   13.2.0
/usr/bin/x86_64-alpine-linux-musl-gcc               compiler          gcc-driver      gnu   -
/opt/conda/bin/x86_64-conda-linux-gnu-cc            compiler          gcc-driver      gnu   -
/usr/bin/x86_64-w64-mingw32-gcc-12-win32            compiler          gcc-driver      gnu   12
/usr/bin/x86_64-w64-mingw32-c++-win32               compiler          gcc-driver      gnu   -
/usr/bin/x86_64-w64-mingw32-gcc-posix               compiler          gcc-driver      gnu   -
/usr/bin/arm-none-eabi-gcc                          compiler          gcc-driver      gnu   -
/usr/bin/arm-none-eabi-c++                          compiler          gcc-driver      gnu   -
/usr/bin/avr-gcc                                    compiler          gcc-driver      gnu   -
/usr/bin/riscv64-unknown-elf-gcc-10.2.0             compiler          gcc-driver      gnu   10.2.0
/usr/bin/xtensa-lx106-elf-g++                       compiler          gcc-driver      gnu   -
/usr/bin/arm-linux-gnueabihf-gcc-12                 compiler          gcc-driver      gnu   12
/usr/bin/i686-linux-gnu-gcc                         compiler          gcc-driver      gnu   -
/usr/bin/powerpc64le-linux-gnu-gcc-9                compiler          gcc-driver      gnu   9
/usr/bin/x86_64-linux-gnu-accel-nvptx-none-gcc-12   compiler          gcc-driver      gnu   12
/opt/rh/gcc-toolset-12/root/usr/bin/gcc             compiler          gcc-driver      gnu   12
/opt/rh/devtoolset-9/root/usr/bin/c++               compiler          gcc-driver      gnu   9
/usr/bin/gcc10-c++                                  compiler          gcc-driver      gnu   -
/usr/bin/c99-gcc                                    compiler          gcc-driver      gnu   -
/usr/bin/musl-gcc                                   compiler          musl-gcc        gnu   -
/usr/lib/gcc/x86_64-linux-gnu/12/cc1                compiler-internal gcc-cc1         gnu   12
/usr/libexec/gcc/x86_64-redhat-linux/4.8.5/cc1plus  compiler-internal gcc-cc1         gnu   4.8.5
/usr/lib/gcc-cross/aarch64-linux-gnu/12/cc1         compiler-internal gcc-cc1         gnu   12
/usr/lib/gcc/x86_64-w64-mingw32/12-win32/cc1plus    compiler-internal gcc-cc1         gnu   12
/usr/lib/gcc/x86_64-linux-gnu/12/cc1objplus         compiler-internal gcc-cc1         gnu   12
/tmp/cc1                                            compiler-internal gcc-cc1         gnu   -
/usr/lib/gcc/x86_64-linux-gnu/12/collect2           compiler-internal gcc-collect2    gnu   12
/usr/lib/gcc/avr/5.4.0/lto1                         compiler-internal gcc-lto1        gnu   5.4.0
/usr/lib/gcc/x86_64-linux-gnu/12/lto-wrapper        compiler-internal gcc-lto-wrapper gnu   12
/usr/lib/gcc/x86_64-linux-gnu/12/f951               compiler-internal gcc-f951        gnu   12
/usr/lib/gcc/x86_64-linux-gnu/12/gnat1              compiler-internal gcc-gnat1       gnu   12
/usr/lib/gcc/x86_64-linux-gnu/12/go1                compiler-internal gcc-go1         gnu   12
/usr/lib/gcc/x86_64-linux-gnu/12/d21                compiler-internal gcc-d21         gnu   12
/usr/lib/gcc/x86_64-linux-gnu/12/cc1gm2             compiler-internal gcc-gm2         gnu   12
/usr/bin/x86_64-linux-gnu-as                        assembler         gas             gnu   -
/usr/lib/avr/bin/as                                 assembler         gas             gnu   -
/usr/x86_64-w64-mingw32/bin/as                      assembler         gas             gnu   -
/usr/bin/x86_64-linux-gnu-ld.bfd                    linker            ld.bfd          gnu   -
/usr/bin/ld.bfd                                     linker            ld.bfd          gnu   -
/usr/bin/arm-none-eabi-ld                           linker            ld.bfd          gnu   -
/usr/lib/avr/bin/ld                                 linker            ld.bfd          gnu   -
/usr/bin/x86_64-linux-gnu-ld.gold                   linker            ld.gold         gnu   -
/usr/bin/aarch64-linux-gnu-dwp                      linker            ld.gold         gnu   -

# generic names without a triplet: a kind, no family
/usr/bin/cc                                         compiler          unknown         -     -
/usr/bin/c++                                        compiler          unknown         -     -
/usr/bin/cpp                                        compiler          unknown         -     -
/usr/bin/c89                                        compiler          unknown         -     -
/usr/bin/c99                                        compiler          unknown         -     -
/usr/bin/f77                                        compiler          unknown         -     -
/usr/bin/cpp-12                                     compiler          unknown         -     12
/usr/bin/as                                         assembler         unknown         -     -
/usr/bin/ld                                         linker            unknown         -     -
/memfd:gcc                                          compiler          gcc-driver      gnu   -

# LLVM and what stands on it
/usr/lib/llvm-14/bin/clang                          compiler          clang           llvm  14
/usr/bin/clang-15                                   compiler          clang           llvm  15
/usr/bin/clang++-15                                 compiler          clang           llvm  15
/usr/lib/llvm17/bin/clang                           compiler          clang           llvm  17
/usr/bin/clang-cpp-14                               compiler          clang           llvm  14
/usr/bin/clang-cl                                   compiler          clang           llvm  -
/opt/ndk/bin/aarch64-linux-android21-clang          compiler          clang           llvm  -
/opt/ndk/bin/armv7a-linux-androideabi21-clang++     compiler          clang           llvm  -
/usr/bin/musl-clang                                 compiler          clang           llvm  -
/usr/lib/llvm-16/bin/flang-new                      compiler          flang           llvm  16
/usr/lib/llvm-16/bin/bbc                            compiler-internal flang-internal  llvm  -
/usr/lib/llvm-14/bin/llc                            compiler          llc             llvm  14
/usr/bin/opt-15                                     compiler-internal llvm-opt        llvm  15
/usr/lib/llvm-14/bin/llvm-as                        assembler         llvm-as         llvm  14
/usr/bin/llvm-mc-15                                 assembler         llvm-mc         llvm  15
/usr/lib/llvm-14/bin/llvm-lto2                      linker            llvm-link       llvm  14
/usr/lib/llvm-14/bin/lld                            linker            lld             llvm  14
/usr/bin/ld.lld-15                                  linker            lld             llvm  15
/usr/bin/wasm-ld                                    linker            lld             llvm  -
/usr/lib/rustlib/x/bin/rust-lld                     linker            lld             llvm  -
/usr/bin/swift-frontend                             compiler          swiftc          swift -
/usr/bin/ispc                                       compiler          ispc            llvm  -
/opt/rocm/bin/hipcc                                 compiler          hipcc           llvm  -

# linkers and assemblers of any toolchain
/usr/bin/mold                                       linker            mold            -     -
/usr/bin/wild                                       linker            wild            -     -
/usr/bin/nasm                                       assembler         nasm            -     -
/usr/bin/yasm                                       assembler         yasm            -     -
/usr/bin/fasm                                       assembler         fasm            -     -
/usr/bin/xa                                         assembler         xa65            -     -

# Go: three of its tools have names only there
/usr/lib/go-1.19/bin/go                             compiler          go-cmd          go    1.19
/usr/local/go/bin/go                                compiler          go-cmd          go    -
/root/sdk/go/bin/go1.21.3                           compiler          go-cmd          go    1.21.3
/usr/lib/go-1.19/pkg/tool/linux_amd64/compile       compiler-internal go-compile      go    1.19
/usr/local/go/pkg/tool/linux_arm64/compile          compiler-internal go-compile      go    -
/root/sdk/go1.22.1/pkg/tool/linux_amd64/link        linker            go-link         go    1.22.1
/usr/local/go/pkg/tool/linux_amd64/asm              assembler         go-asm          go    -
/usr/bin/tinygo                                     compiler          tinygo          go    -

# Rust: rustup's proxies are wrappers
/usr/bin/rustc                                      compiler          rustc           rust  -
/root/.rustup/toolchains/1.95.0-x86_64-unknown-linux-gnu/bin/rustc compiler rustc     rust  1.95.0
/root/.rustup/toolchains/stable-x86_64-unknown-linux-gnu/bin/rustc compiler rustc     rust  -
/usr/bin/clippy-driver                              compiler-internal clippy-driver   rust  -
/root/.cargo/bin/rustc                              build-tool        rustup          rust  -
/usr/local/cargo/bin/rustc                          build-tool        rustup          rust  -

# Java and .NET
/usr/lib/jvm/java-17-openjdk-amd64/bin/javac        compiler          javac           java  17
/opt/java/openjdk/bin/javac                         compiler          javac           java  -
/usr/local/openjdk-11/bin/javac                     compiler          javac           java  11
/opt/graalvm/bin/native-image                       compiler          native-image    java  -
/usr/share/dotnet/sdk/10.0.100/Roslyn/bincore/csc   compiler          csc             dotnet -
/usr/bin/vbc                                        compiler          vbc             dotnet -

# other compilers
/usr/bin/tcc                                        compiler          tcc             tcc   -
/usr/bin/i386-tcc                                   compiler          tcc             tcc   -
/usr/bin/x86_64-linux-gnu-pcc                       compiler          pcc             pcc   -
/usr/bin/x86_64-linux-gnu-ccom                      compiler-internal pcc-i           pcc   -
/usr/bin/bcc                                        compiler          bcc             bcc   -
/usr/lib/bcc/copt                                   compiler-internal bcc-i           bcc   -
/usr/bin/as86                                       assembler         as86            bcc   -
/usr/bin/ld86                                       linker            ld86            bcc   -
/usr/bin/cc65                                       compiler          cc65            cc65  -
/usr/bin/ca65                                       assembler         ca65            cc65  -
/usr/bin/ld65                                       linker            ld65            cc65  -
/usr/bin/sdcc                                       compiler          sdcc            sdcc  -
/usr/bin/sdas8051                                   assembler         sdas            sdcc  -
/opt/intel/bin/icpx                                 compiler          intel           intel -
/opt/intel/bin/ifort                                compiler          intel           intel -
/opt/nvidia/bin/nvc++                               compiler          nvhpc           nvhpc -
/usr/local/cuda/bin/nvcc                            compiler          cuda            cuda  -
/usr/local/cuda/nvvm/bin/cicc                       compiler-internal cuda-internal   cuda  -
/usr/local/cuda/bin/ptxas                           assembler         ptxas           cuda  -
/usr/local/cuda/bin/nvlink                          linker            nvlink          cuda  -
/usr/bin/dmd                                        compiler          dmd             d     -
/usr/bin/ldc2                                       compiler          ldc             d     -
/usr/bin/ldmd2-1.30.0                               compiler          ldc             d     1.30.0
/usr/bin/zig                                        compiler          zig             zig   -
/usr/bin/zig-0.11                                   compiler          zig             zig   0.11
/usr/bin/x86_64-linux-gnu-fpc-3.2.2                 compiler          fpc             fpc   3.2.2
/usr/lib/x86_64-linux-gnu/fpc/3.2.2/ppcx64          compiler          fpc             fpc   -
/usr/bin/ppcrossarm                                 compiler          fpc             fpc   -
/usr/lib/ghc/bin/ghc                                compiler          ghc             ghc   -
/usr/bin/ghc-9.0.2                                  compiler          ghc             ghc   9.0.2
/usr/lib/ghc-9.4.7/bin/ghc                          compiler          ghc             ghc   9.4.7
/usr/bin/ocamlopt.opt                               compiler          ocaml           ocaml -
/usr/bin/ocamlc                                     compiler          ocaml           ocaml -
/usr/bin/nim                                        compiler          nim             nim   -
/usr/bin/crystal                                    compiler          crystal         crystal -
/usr/bin/valac-0.56                                 compiler          valac           vala  0.56
/opt/vlang/v                                        compiler          vlang           v     -
/usr/bin/odin                                       compiler          odin            odin  -
/usr/bin/gleam                                      compiler          gleam           erlang -
/usr/lib/erlang/bin/erlc                            compiler          erlc            erlang -
/usr/bin/luac5.4                                    compiler          luac            lua   5.4
/usr/bin/cobc                                       compiler          cobc            cobc  -
/usr/bin/sbcl                                       compiler          sbcl            lisp  -
/usr/lib/clisp-2.49.93+/base/lisp.run               compiler          clisp           lisp  -
/usr/bin/idris2                                     compiler          idris           idris -
/usr/bin/csc                                        compiler          chicken         scheme -
/usr/bin/gplc                                       compiler          gprolog         gprolog -
/usr/bin/glslangValidator                           compiler          glslang         shaders -
/usr/bin/wat2wasm                                   assembler         wat2wasm        wasm  -
/usr/bin/verilator_bin_dbg                          compiler          verilator       verilator -
/usr/lib/x86_64-linux-gnu/ivl/ivlpp                 compiler-internal ivl             iverilog -
/usr/bin/esbuild                                    compiler          esbuild         javascript -

# build tools and generators
/usr/bin/make                                       build-tool        make            -     -
/usr/bin/cmake                                      build-tool        cmake           -     -
/usr/bin/ninja                                      build-tool        ninja           -     -
/usr/bin/x86_64-linux-gnu-ar                        build-tool        ar              -     -
/usr/bin/x86_64-linux-gnu-gcc-ar-12                 build-tool        gcc-ar          -     12
/usr/bin/x86_64-linux-gnu-gcc-nm-12                 build-tool        gcc-ar          -     12
/usr/bin/x86_64-w64-mingw32-gcc-ranlib-win32        build-tool        gcc-ar          -     -
/usr/bin/x86_64-linux-gnu-go-12                     build-tool        gcc-go-cmd      -     12
/usr/bin/x86_64-linux-gnu-gnatmake-12               build-tool        gnatmake        -     12
/usr/bin/ccache                                     build-tool        compiler-wrapper -    -
/usr/bin/cargo                                      build-tool        cargo           rust  -
/usr/bin/makepkg                                    build-tool        build-misc      -     -
/usr/bin/bison                                      not-compiler      generator       -     -
/usr/bin/protoc                                     not-compiler      generator       -     -
/usr/lib/qt5/bin/moc                                not-compiler      generator       -     -
/usr/bin/java                                       not-compiler      java            -     -
/usr/bin/python3.11                                 not-compiler      python          -     3.11

# nothing of the kind
/usr/bin/link                                       not-compiler      unknown         -     -
/usr/local/bin/compile                              not-compiler      unknown         -     -
/usr/bin/asm                                        not-compiler      unknown         -     -
/usr/bin/copt                                       not-compiler      unknown         -     -
/usr/local/bin/v                                    not-compiler      unknown         -     -
/pkg/tool/compile                                   not-compiler      unknown         -     -
/usr/bin/x86_64-linux-gnu-gcov-12                   not-compiler      unknown         -     -
/usr/bin/x86_64-linux-gnu-pcc-cpp                   not-compiler      unknown         -     -
/usr/bin/arm-none-eabi-c++filt                      not-compiler      unknown         -     -
/usr/bin/x86_64-linux-gnu-lto-dump-12               not-compiler      unknown         -     -
/usr/bin/x86_64-linux-gnu-objcopy                   not-compiler      unknown         -     -
/usr/bin/clang-format-15                            not-compiler      unknown         -     -
/usr/bin/clang-tidy                                 not-compiler      unknown         -     -
/usr/bin/clangd                                     not-compiler      unknown         -     -
/usr/bin/clang-12-not-a-version                     not-compiler      unknown         -     -
/usr/bin/gcc-                                       not-compiler      unknown         -     -
/usr/bin/gcc-wrapper                                not-compiler      unknown         -     -
/usr/bin/-gcc                                       not-compiler      unknown         -     -
/usr/bin/foo-gcc                                    not-compiler      unknown         -     -
/usr/bin/x86_64-gcc-foo                             not-compiler      unknown         -     -
/usr/bin/rustdoc                                    not-compiler      unknown         -     -
/usr/bin/gofmt                                      not-compiler      unknown         -     -
/usr/bin/ldd                                        not-compiler      unknown         -     -
/usr/bin/assh                                       not-compiler      unknown         -     -
/usr/bin/GCC                                        not-compiler      unknown         -     -
/usr/bin/12                                         not-compiler      unknown         -     -
/                                                   not-compiler      unknown         -     -
";

pub(super) fn database() -> Database {
    Database::builtin().unwrap()
}

fn judge(database: &Database, path: &[u8], comm: &[u8], args: Option<&[&str]>) -> Judgement {
    let args: Option<Vec<Vec<u8>>> = args.map(|args| args.iter().map(|a| a.as_bytes().to_vec()).collect());
    database.judge(&Invocation { path, comm, args: args.as_deref() }, None)
}

#[test]
fn files_are_known_by_name_and_path() {
    let database = database();
    let mut rows = 0;
    for row in FILES.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let [path, kind, family, toolchain, version] = row.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{row}");
        };
        let verdict = judge(&database, path.as_bytes(), b"", None).verdict;
        assert_eq!(
            [
                verdict.kind.as_str(),
                &verdict.family,
                verdict.toolchain.as_deref().unwrap_or("-"),
                verdict.version.as_deref().unwrap_or("-"),
            ],
            [kind, family, toolchain, version],
            "{path}"
        );
        assert_eq!(verdict.confidence, Confidence::Low, "{path}");
        assert!(!verdict.masquerade && !verdict.packed, "{path}");
        let call = Invocation { path: path.as_bytes(), comm: b"", args: None };
        assert_eq!(database.candidate(&call) == Candidate::ByName, verdict.kind.is_toolchain(), "{path}");
        rows += 1;
    }
    assert!(rows >= 150, "{rows} rows");
}

#[test]
fn the_directory_is_evidence_of_its_own() {
    let database = database();
    for (path, expected) in [
        ("/usr/bin/gcc", &[Evidence::Name][..]),
        ("/usr/lib/gcc/x86_64-linux-gnu/12/cc1", &[Evidence::Name, Evidence::Path]),
        ("lib/gcc/x86_64-linux-gnu/12/cc1", &[Evidence::Name, Evidence::Path]),
        ("/tmp/cc1", &[Evidence::Name]),
        ("/usr/local/go/pkg/tool/linux_amd64/compile", &[Evidence::Name, Evidence::Path]),
        ("/usr/bin/ls", &[]),
    ] {
        assert_eq!(judge(&database, path.as_bytes(), b"", None).verdict.evidence, expected, "{path}");
    }
}

/// path, comm, argv, what is expected of `candidate` and the family.
#[test]
fn every_source_may_claim_some_names() {
    use Candidate::{ByName, IfArguments, No};
    let database = database();
    for (path, comm, args, candidate, family) in [
        // The file's own name decides: Debian's cc.
        ("/usr/bin/x86_64-linux-gnu-gcc-12", "cc", "cc a.c", ByName, "gcc-driver"),
        ("/usr/lib/llvm-14/bin/clang", "cc", "cc a.c", ByName, "clang"),
        // A mismatch hides nothing.
        ("/usr/bin/gcc", "innocent", "innocent", ByName, "gcc-driver"),
        ("/tmp/x", "gcc", "x", ByName, "gcc-driver"),
        ("/tmp/x", "x", "gcc a.c", No, "gcc-driver"),
        ("/usr/bin/make", "gcc", "make", ByName, "gcc-driver"),
        // Common words are claimed by files alone.
        ("/tmp/x", "as", "as", No, "unknown"),
        ("/tmp/x", "go", "go build", No, "unknown"),
        ("/tmp/x", "ld", "ld a.o", No, "unknown"),
        ("/tmp/x", "opt", "opt", No, "unknown"),
        ("/bin/bash", "go", "bash /usr/local/bin/go build", No, "shell"),
        ("/usr/bin/coreutils", "link", "link a b", No, "wrapper"),
        ("/usr/bin/coreutils", "cc", "cc a b", No, "wrapper"),
        // argv[0] and comm don't tell a directory.
        ("/tmp/x", "x", "/usr/local/go/pkg/tool/linux_amd64/compile a.go", No, "unknown"),
        // Where the file is not known they are all there is.
        ("", "as", "as", ByName, "unknown"),
        ("", "cc1", "cc1", ByName, "gcc-cc1"),
        ("", "compile", "/usr/local/go/pkg/tool/linux_amd64/compile a.go", No, "go-compile"),
        ("", "java", "java -jar ecj.jar", IfArguments, "ecj"),
        ("", "", "gcc a.c", No, "gcc-driver"),
        ("", "as", "sh", ByName, "unknown"),
        // A wrapper's argv[0] and comm are the next exec's.
        ("/usr/bin/ccache", "gcc", "gcc -c a.c", No, "compiler-wrapper"),
        ("/root/.cargo/bin/rustup", "rustc", "rustc a.rs", No, "rustup"),
        ("/bin/busybox", "cc", "cc a.c", No, "wrapper"),
        // comm is a script's name where an interpreter is the file.
        ("/usr/bin/dash", "c99", "/bin/sh /usr/bin/c99 a.c", ByName, "unknown"),
        ("/usr/bin/dash", "kotlinc", "/bin/sh /usr/bin/kotlinc a.kt", ByName, "kotlinc"),
        ("/usr/bin/dash", "mcs", "/bin/sh /usr/bin/mcs a.cs", ByName, "mcs"),
        ("/usr/bin/perl", "nescc", "/usr/bin/perl /usr/bin/nescc a.nc", ByName, "nescc"),
        ("/usr/bin/python3.11", "cython3", "python3 /usr/bin/cython3 a.pyx", ByName, "cython"),
        ("/usr/bin/dash", "sh", "sh -c gcc", No, "shell"),
        ("/usr/bin/bash", "configure", "sh ./configure", No, "shell"),
        // env: a script's name, unless the interpreter that follows will tell it again.
        ("/usr/bin/env", "kotlinc", "/usr/bin/env bash /usr/share/kotlinc a.kt", IfArguments, "kotlinc"),
        ("/usr/bin/env", "tsc", "/usr/bin/env node /usr/bin/tsc", IfArguments, "env"),
        ("/usr/bin/env", "env", "env gcc a.c", No, "env"),
        // comm holds 15 bytes, the name 16.
        ("", "glslangValidato", "x", ByName, "glslang"),
        ("/usr/bin/perl", "verilator_bin_d", "perl x", ByName, "verilator"),
    ] {
        let args: Vec<&str> = args.split(' ').collect();
        let call = Invocation { path: path.as_bytes(), comm: comm.as_bytes(), args: None };
        let judgement = judge(&database, call.path, call.comm, Some(&args));
        assert_eq!(judgement.verdict.family, family, "{path} {comm} {args:?}");
        assert_eq!(database.candidate(&call), candidate, "{path} {comm} {args:?}");
    }
}

#[test]
fn unknown_arguments_are_a_compile() {
    let database = database();
    let judgement = judge(&database, b"/usr/bin/dash", b"kotlinc", None);
    assert_eq!((judgement.verdict.family.as_str(), judgement.request), ("kotlinc", Request::Compile));
    assert_eq!(judgement.verdict.evidence, [Evidence::Script]);
    assert_eq!(judge(&database, b"/usr/bin/gcc", b"gcc", None).request, Request::Compile);
    assert_eq!(judge(&database, b"/usr/bin/gcc", b"gcc", Some(&[])).request, Request::Compile);
}

#[test]
fn a_read_limit_is_told() {
    let database = database();
    let call = |path| Invocation { path, comm: b"", args: None };
    let cut = Content { truncated: true, ..Content::default() };
    let gcc = database.judge(&call(b"/usr/bin/gcc"), Some(&cut));
    assert_eq!(gcc.verdict.evidence, [Evidence::Name, Evidence::ReadLimit]);
    assert_eq!(database.judge(&call(b"/usr/bin/ls"), Some(&cut)).verdict.evidence, [Evidence::ReadLimit]);
}
