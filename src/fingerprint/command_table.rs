//! Command lines, what they are and what they ask for, one row a call. Test only.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use super::name_table::database;
use super::{Candidate, Confidence, Content, ContentSays, Evidence, Invocation, Kind, Recognition, Request};

/// family (`-`: no toolchain's program), request (`c`ompile, `q`uery, `-`), executed file, argv. Arguments are split at
/// blanks; `~` is a blank within one.
const CALLS: &str = "
# gcc: an operand is what no option is nor takes
gcc-driver  q /usr/bin/gcc      gcc --version
gcc-driver  q /usr/bin/gcc      gcc -v
gcc-driver  q /usr/bin/gcc      gcc -dumpmachine
gcc-driver  q /usr/bin/gcc      gcc -dumpfullversion -dumpversion
gcc-driver  q /usr/bin/gcc      gcc -print-search-dirs
gcc-driver  q /usr/bin/gcc      gcc -print-prog-name=cc1
gcc-driver  q /usr/bin/gcc      gcc -m32 -print-multi-directory
gcc-driver  q /usr/bin/gcc      gcc --print-file-name=libc.a
gcc-driver  q /usr/bin/gcc      gcc -Q -O2 --help=optimizers
gcc-driver  q /usr/bin/gcc      gcc -x c -v
gcc-driver  q /usr/bin/gcc      gcc -o a --version
gcc-driver  q /usr/bin/gcc      gcc -V
gcc-driver  q /usr/bin/gcc      gcc -qversion
gcc-driver  q /usr/bin/gcc      gcc
gcc-driver  c /usr/bin/gcc      gcc a.c
gcc-driver  c /usr/bin/gcc      gcc -v -c a.c
gcc-driver  c /usr/bin/gcc      gcc -v a.c -o a
gcc-driver  c /usr/bin/gcc      gcc --version a.c
gcc-driver  c /usr/bin/gcc      gcc -### a.c
gcc-driver  c /usr/bin/gcc      gcc -x c -
gcc-driver  c /usr/bin/gcc      gcc -v -x c -
gcc-driver  c /usr/bin/gcc      gcc @a.rsp
gcc-driver  c /usr/bin/gcc      gcc -v @a.rsp
gcc-driver  c /usr/bin/gcc      gcc -v -lfoo
gcc-driver  c /usr/bin/gcc      gcc -v -Wl,evil.o
gcc-driver  c /usr/bin/gcc      gcc -v -Xlinker evil.o
gcc-driver  c /usr/bin/gcc      gcc -O2
gcc-driver  c /usr/bin/gcc      gcc -o a
gcc-driver  c /usr/bin/gcc      gcc -v -- a.c
gcc-driver  c /usr/bin/gcc      gcc -v --
gcc-driver  q /usr/bin/x86_64-linux-gnu-g++-12   c++ --version
unknown     q /usr/bin/cc       cc --version
unknown     c /usr/bin/cc       cc a.c
unknown     q /usr/bin/cpp      cpp --version
unknown     c /usr/bin/cpp      cpp
gcc-driver  c /usr/bin/x86_64-linux-gnu-cpp-12   cpp

# internal programs are called to work
gcc-cc1     c /usr/lib/gcc/x86_64-linux-gnu/12/cc1      cc1 -quiet a.c
gcc-cc1     c /usr/lib/gcc/x86_64-linux-gnu/12/cc1      cc1
gcc-cc1     c /usr/lib/gcc/x86_64-linux-gnu/12/cc1      cc1 -v
gcc-cc1     c /usr/lib/gcc/x86_64-linux-gnu/12/cc1      cc1 --version -quiet
gcc-cc1     q /usr/lib/gcc/x86_64-linux-gnu/12/cc1      cc1 --version
gcc-cc1     q /usr/lib/gcc/x86_64-linux-gnu/12/cc1      cc1 --help
gcc-collect2 c /usr/lib/gcc/x86_64-linux-gnu/12/collect2 collect2 -v
gas         q /usr/bin/x86_64-linux-gnu-as      as --version
gas         c /usr/bin/x86_64-linux-gnu-as      as
gas         c /usr/bin/x86_64-linux-gnu-as      as -v
gas         c /usr/bin/x86_64-linux-gnu-as      as --64 -o a.o a.s
ld.bfd      q /usr/bin/x86_64-linux-gnu-ld.bfd  ld -v
ld.bfd      q /usr/bin/x86_64-linux-gnu-ld.bfd  ld --verbose -m elf_x86_64
ld.bfd      c /usr/bin/x86_64-linux-gnu-ld.bfd  ld -v a.o
ld.bfd      c /usr/bin/x86_64-linux-gnu-ld.bfd  ld -v -lfoo
ld.bfd      c /usr/bin/x86_64-linux-gnu-ld.bfd  ld

# clang calls itself
clang       q /usr/lib/llvm-14/bin/clang  clang --version
clang       q /usr/lib/llvm-14/bin/clang  clang -print-resource-dir -target x86_64
clang       c /usr/lib/llvm-14/bin/clang  clang
clang       c /usr/lib/llvm-14/bin/clang  clang -cc1 -v
clang       c /usr/lib/llvm-14/bin/clang  clang -v a.c
clang       c /usr/lib/llvm-14/bin/clang  clang -v --config a.cfg
clang       c /usr/lib/llvm-14/bin/clang  clang -v --config=a.cfg
clang       c /usr/lib/llvm-14/bin/clang  clang -v --config-user-dir=/x
clang       c /usr/lib/llvm-14/bin/clang  clang -v --config-system-dir=/x
zig         c /usr/bin/zig                zig cc -v --config a.cfg
musl-gcc    c /bin/dash         /bin/sh /usr/bin/musl-gcc a.c
musl-gcc    q /bin/dash         /bin/sh /usr/bin/musl-gcc --version

tcc         q /usr/bin/tcc      tcc -v
tcc         q /usr/bin/tcc      tcc
tcc         c /usr/bin/tcc      tcc -v a.c -o a
tcc         c /usr/bin/tcc      tcc -run -
tcc         c /usr/bin/tcc      tcc -v -run
rustc       q /usr/bin/rustc    rustc -vV
rustc       q /usr/bin/rustc    rustc --version --verbose
rustc       q /usr/bin/rustc    rustc +nightly --version
rustc       q /usr/bin/rustc    rustc --print cfg
rustc       q /usr/bin/rustc    rustc --print=sysroot --target x
rustc       c /usr/bin/rustc    rustc -v a.rs
rustc       c /usr/bin/rustc    rustc - --crate-name ___ --print=file-names
rustc       c /usr/bin/rustc    rustc @args
javac       q /usr/bin/javac    javac -version
javac       q /usr/bin/javac    javac --help
javac       c /usr/bin/javac    javac -version A.java
javac       c /usr/bin/javac    javac -version @files
javac       c /usr/bin/javac    javac -version -m app
javac       c /usr/bin/javac    javac -d out A.java
ghc         q /usr/bin/ghc      ghc --numeric-version
ghc         c /usr/bin/ghc      ghc --make A.hs
ghc         c /usr/bin/ghc      ghc --version A.hs
ocaml       q /usr/bin/ocamlopt.opt   ocamlopt -config-var arch
ocaml       c /usr/bin/ocamlopt.opt   ocamlopt -version a.ml
fpc         q /usr/bin/fpc      fpc -iV
fpc         c /usr/bin/fpc      fpc -iV a.pas
nasm        q /usr/bin/nasm     nasm -v
nasm        c /usr/bin/nasm     nasm -f elf64 a.asm
cuda        q /opt/nvcc         nvcc --version
cuda        c /opt/nvcc         nvcc a.cu

# go, by subcommand
go-cmd      q /usr/local/go/bin/go   go
go-cmd      q /usr/local/go/bin/go   go version
go-cmd      q /usr/local/go/bin/go   go version a.out
go-cmd      q /usr/local/go/bin/go   go env GOPATH
go-cmd      q /usr/local/go/bin/go   go -C /src env
go-cmd      q /usr/local/go/bin/go   go help build
go-cmd      q /usr/local/go/bin/go   go list ./...
go-cmd      q /usr/local/go/bin/go   go mod tidy
go-cmd      q /usr/local/go/bin/go   go fmt ./...
go-cmd      q /usr/local/go/bin/go   go tool nm a.out
go-cmd      q /usr/local/go/bin/go   go tool compile -V=full
go-cmd      c /usr/local/go/bin/go   go build
go-cmd      c /usr/local/go/bin/go   go -C /src build ./...
go-cmd      c /usr/local/go/bin/go   go run a.go
go-cmd      c /usr/local/go/bin/go   go test ./...
go-cmd      c /usr/local/go/bin/go   go install x@latest
go-cmd      c /usr/local/go/bin/go   go vet
go-cmd      c /usr/local/go/bin/go   go generate
go-cmd      c /usr/local/go/bin/go   go get x
go-cmd      c /usr/local/go/bin/go   go list -export -deps x
go-cmd      c /usr/local/go/bin/go   go tool compile a.go
go-cmd      c /usr/local/go/bin/go   go tool asm a.s
go-cmd      c /usr/local/go/bin/go   go tool link a.o
go-cmd      c /usr/local/go/bin/go   go whatever
go-compile  q /usr/local/go/pkg/tool/linux_amd64/compile  compile -V=full
go-compile  c /usr/local/go/pkg/tool/linux_amd64/compile  compile -o a.o a.go
go-link     q /usr/local/go/pkg/tool/linux_amd64/link     link -V=full
zig         q /usr/bin/zig      zig version
zig         q /usr/bin/zig      zig cc --version
zig         c /usr/bin/zig      zig cc a.c
zig         c /usr/bin/zig      zig build-exe a.zig
zig         c /usr/bin/zig      zig
crystal     q /usr/bin/crystal  crystal env
crystal     c /usr/bin/crystal  crystal build a.cr

# java and what runs in it
javac       c /usr/bin/java     java -m jdk.compiler/com.sun.tools.javac.Main A.java
javac       c /usr/bin/java     java --module=jdk.compiler/com.sun.tools.javac.Main A.java
javac       c /usr/bin/java     java --module jdk.compiler A.java
javac       c /usr/bin/java     java -Xmx1g -cp tools.jar com.sun.tools.javac.Main A.java
javac       c /usr/bin/java     java com/sun/tools/javac/Main A.java
javac       q /usr/bin/java     java com.sun.tools.javac.Main -version
javac       c /usr/bin/java     java A.java
javac       c /usr/bin/java     java A.java --version
javac       c /usr/bin/java     java --source 17 A
javac       c /usr/bin/java     java -cp x --add-opens a/b=c /src/A.java
javac       c /usr/bin/java     java --source~17 ./script A
javac       c /usr/bin/java     java --source=17 A
ecj         c /usr/bin/java     java -jar /usr/share/java/ecj.jar A.java
ecj         q /usr/bin/java     java -jar ecj-3.33.0.jar -version
kotlinc     c /usr/bin/java     java -cp kotlin-compiler.jar org.jetbrains.kotlin.cli.jvm.K2JVMCompiler a.kt
kotlinc     c /usr/bin/java     java -cp kotlin-preloader.jar org.jetbrains.kotlin.preloading.Preloader -cp kotlin-compiler.jar org.jetbrains.kotlin.cli.jvm.K2JVMCompiler a.kt
kotlinc     q /usr/bin/java     java -cp kotlin-preloader.jar org.jetbrains.kotlin.preloading.Preloader -cp kotlin-compiler.jar org.jetbrains.kotlin.cli.jvm.K2JVMCompiler -version
scalac      c /usr/bin/java     java -classpath x scala.tools.nsc.Main a.scala
scalac      c /usr/bin/java     java -classpath x dotty.tools.dotc.Main a.scala
scalac      c /usr/bin/java     java -classpath x dotty.tools.MainGenericCompiler dotty.tools.dotc.Main a.scala
groovyc     c /usr/bin/java     java -classpath x org.codehaus.groovy.tools.GroovyStarter --main org.codehaus.groovy.tools.FileSystemCompiler --conf c --classpath . a.groovy
native-image c /usr/bin/java    java -m org.graalvm.nativeimage.builder/com.oracle.svm.hosted.NativeImageGeneratorRunner x
-           - /usr/bin/java     java -jar app.jar
-           - /usr/bin/java     java -jar
-           - /usr/bin/java     java -version
-           - /usr/bin/java     java --describe-module jdk.compiler
-           - /usr/bin/java     java --describe-module=jdk.compiler A.java
-           - /usr/bin/java     java -d jdk.compiler A.java
-           - /usr/bin/java     java -cp com.sun.tools.javac.Main Main
-           - /usr/bin/java     java Main com.sun.tools.javac.Main
-           - /usr/bin/java     java @args
-           - /usr/bin/java     java -cp x org.codehaus.groovy.tools.GroovyStarter --main groovy.ui.GroovyMain a
-           - /usr/bin/java     java org.apache.tools.ant.launch.Launcher

# node, python, .NET, dart
tsc         c /usr/bin/node     node /usr/share/nodejs/typescript/bin/tsc -p .
tsc         c /usr/bin/node     node node_modules/typescript/lib/tsc.js
tsc         c /usr/bin/node     node --max-old-space-size=4096 -r x node_modules/.bin/tsc
tsc         q /usr/bin/node     node /usr/bin/tsc --version
babel       c /usr/bin/node     node /usr/share/nodejs/@babel/cli/bin/babel.js src
esbuild     c /usr/bin/node     node /app/node_modules/esbuild/bin/esbuild a.ts
tsc         c /usr/bin/node     node --title x bin/tsc
tsc         c /usr/bin/node     node --title=x bin/tsc
tsc         c /usr/bin/node     node --env-file .env bin/tsc
tsc         c /usr/bin/node     node --unhandled-rejections strict bin/tsc
tsc         c /usr/bin/node     node --redirect-warnings w bin/tsc
tsc         c /usr/bin/node     node --diagnostic-dir x bin/tsc
tsc         c /usr/bin/node     node --report-directory x bin/tsc
tsc         c /usr/bin/node     node --dns-result-order ipv4first bin/tsc
tsc         c /usr/bin/node     node --trace-event-categories v8 bin/tsc
tsc         c /usr/bin/node     node --tls-cipher-list A bin/tsc
tsc         c /usr/bin/node     node --max-http-header-size 9000 bin/tsc
tsc         c /usr/bin/node     node --heapsnapshot-signal SIGUSR2 bin/tsc
tsc         c /usr/bin/node     node --input-type commonjs bin/tsc
tsc         c /usr/bin/node     node --secure-heap 0 bin/tsc
tsc         c /usr/bin/node     node --stack-trace-limit 9 --test-shard 1/2 -C x bin/tsc
tsc         c /usr/bin/node     node --trace_event_categories v8 --no-warnings bin/tsc
babel       c /usr/bin/node     node --env-file .env /usr/share/nodejs/@babel/cli/bin/babel.js src
tsc         c /usr/bin/node     node --inspect bin/tsc
tsc         q /usr/bin/node     node --unheard-of x --watch --of_either y/z bin/tsc -v
esbuild     c /usr/bin/bun      bun --cwd /x node_modules/.bin/esbuild a.ts
-           - /usr/bin/node     node --unheard-of=x server.js bin/tsc
-           - /usr/bin/node     node --no-warnings server.js bin/tsc
-           - /usr/bin/node     node --expose-gc server.js --compiler tsc
-           - /usr/bin/node     node --unheard-of x server.js bin/tsc
-           - /usr/bin/node     node --unheard-of x -e bin/tsc
-           - /usr/bin/node     node --title bin/tsc server.js
-           - /usr/bin/node     node --run build bin/tsc
-           - /usr/bin/node     node -- --unheard-of bin/tsc
-           - /usr/bin/bun      bun --watch server.ts build
-           - /usr/bin/node     node -e tsc
-           - /usr/bin/node     node server.js tsc
-           - /usr/bin/node     node
-           - /usr/bin/node     node /usr/share/nodejs/typescript/lib/tsserver.js
zig         c /usr/bin/python3.11  python3 -m ziglang build-exe a.zig
zig         q /usr/bin/python3.11  python3 -m ziglang version
zig         q /usr/bin/python3.11  python3 -mziglang cc --version
nuitka      c /usr/bin/python3.11  python3 -Im nuitka a.py
nuitka      c /usr/bin/python3.11  python3 -X dev -W ignore -m nuitka.__main__ a.py
cython      c /usr/bin/python3.11  python3 -m Cython.Build.Cythonize a.pyx
pyinstaller c /usr/bin/python3.11  python3 -m PyInstaller a.py
cython      c /usr/bin/python3.11  /usr/bin/python3 -E /usr/bin/cython3 a.pyx
cython      q /usr/bin/python3.11  /usr/bin/python3 /usr/bin/cython3 --version
emcc        c /usr/bin/python3.11  python3 /emsdk/upstream/emscripten/emcc.py a.c
sdas        c /usr/bin/python3.11  python /usr/bin/as2gbmap a
-           - /usr/bin/python3.11  python3 -c cython
-           - /usr/bin/python3.11  python3 -m http.server
-           - /usr/bin/python3.11  python3 -m
-           - /usr/bin/python3.11  python3 app.py cython
-           - /usr/bin/python3.11  python3 -
dotnet      c /usr/bin/dotnet   dotnet build
dotnet      c /usr/bin/dotnet   dotnet publish -c Release
dotnet      c /usr/bin/dotnet   dotnet run
dotnet      c /usr/bin/dotnet   dotnet msbuild a.csproj
dotnet      c /usr/bin/dotnet   dotnet /usr/share/dotnet/sdk/8.0.100/MSBuild.dll /nologo /nodemode:1
dotnet      c /usr/bin/dotnet   dotnet exec /usr/share/dotnet/sdk/8.0.100/MSBuild.dll a.csproj
dotnet      c /usr/bin/dotnet   dotnet /usr/share/dotnet/sdk/8.0.100/dotnet.dll build
dotnet      c /usr/bin/dotnet   dotnet app.cs
-           - /usr/bin/dotnet   dotnet /usr/share/dotnet/sdk/8.0.100/dotnet.dll nuget list
-           - /usr/bin/dotnet   dotnet /srv/build
mono        c /usr/bin/mono-sgen mono /usr/lib/mono/msbuild/15.0/bin/MSBuild.dll a.csproj
csc         c /usr/bin/dotnet   dotnet exec --runtimeconfig x /sdk/Roslyn/bincore/csc.dll a.cs
csc         c /usr/bin/dotnet   dotnet /sdk/Roslyn/bincore/csc.dll @a.rsp
csc         q /usr/bin/dotnet   dotnet csc.dll -version
csc         c /usr/bin/dotnet   dotnet exec /sdk/Roslyn/bincore/VBCSCompiler.dll -pipename:x
fsc         c /usr/bin/dotnet   dotnet fsc.dll a.fs
mcs         c /usr/bin/mono-sgen mono --config x /usr/lib/mono/4.5/mcs.exe a.cs
-           - /usr/bin/dotnet   dotnet app.dll
-           - /usr/bin/dotnet   dotnet --info
-           - /usr/bin/dotnet   dotnet
-           - /usr/bin/mono-sgen mono app.exe
dart        c /usr/lib/dart/bin/dart  dart compile exe a.dart
-           - /usr/lib/dart/bin/dart  dart a.dart
deno        c /usr/bin/deno     deno compile a.ts
-           - /usr/bin/deno     deno run a.ts
tsc         c /usr/bin/deno     deno run -A npm:typescript/tsc a.ts
tsc         c /usr/bin/bun      bun run ./node_modules/typescript/bin/tsc
tsc         c /usr/bin/bun      bun x tsc a.ts
bun         c /usr/bin/bun      bun build a.ts
-           - /usr/bin/bun      bun run build
ocaml       c /usr/bin/ocamlrun ocamlrun /usr/bin/ocamlc.byte a.ml
ocaml       c /usr/bin/ocamlrun ocamlrun -b -I /x /usr/bin/ocamlc.byte a.ml
-           - /usr/bin/ocamlrun ocamlrun -I /usr/bin/ocamlc.byte x

# what the shell scripts and launchers of Erlang, Elixir and Guile execute
elixirc     c /usr/lib/erlang/erts-13.1.5/bin/beam.smp  beam.smp -- -root /usr/lib/erlang -progname erl -- -home /root -- -noshell -s elixir start_cli -pa x -extra +elixirc a.ex
elixirc     q /usr/lib/erlang/erts-13.1.5/bin/beam.smp  beam.smp -- -s elixir start_cli -extra +elixirc --version
erlc        c /usr/lib/erlang/erts-13.1.5/bin/beam.smp  beam.smp -sbtu -A0 -- -root /usr/lib/erlang -progname erl -- -home /root -- -boot no_dot_erlang -noinput -mode minimal -s erl_compile compile_cmdline @cwd / a.erl
erlc        c /usr/lib/erlang/erts-13.1.5/bin/beam.smp  beam.smp -- -noinput -run erl_compile compile_cmdline a.erl
-           - /usr/lib/erlang/erts-13.1.5/bin/beam.smp  beam.smp -- -s elixir start_cli -extra /usr/bin/mix phx.server
-           - /usr/lib/erlang/erts-13.1.5/bin/beam.smp  beam.smp -- -s elixir start_cli -extra --no-halt a.exs
-           - /usr/lib/erlang/erts-13.1.5/bin/beam.smp  beam.smp -- -s
-           - /usr/lib/erlang/erts-13.1.5/bin/beam.smp  beam.smp
guild       c /usr/bin/guile-3.0   guile -e (@@~(guild)~main) -s /usr/bin/guild compile a.scm
guild       c /usr/bin/guile-3.0   guile --no-auto-compile -L /x -- /usr/bin/guild-3.0 compile a.scm
-           - /usr/bin/guile-3.0   guile -c guild
-           - /usr/bin/guile-3.0   guile -s server.scm guild

# a script by its interpreter's arguments
kotlinc     c /usr/bin/bash     bash /opt/kotlinc/bin/kotlinc a.kt
scalac      q /usr/bin/bash     sh scalac -version
nescc       c /usr/bin/perl     perl -w /usr/bin/nescc a.nc
kotlinc     c /usr/bin/bash     bash -xe /opt/kotlinc/bin/kotlinc a.kt
tsc         c /usr/bin/dash     sh -e ./tsc x.ts
tsc         c /usr/bin/bash     bash -eo pipefail --norc +x -O extglob ./tsc x.ts
tsc         c /usr/bin/bash     bash --rcfile x -- ./tsc x.ts
nescc       c /usr/bin/perl     perl -c /usr/bin/nescc
nescc       c /usr/bin/perl     perl -I /x -wI y -Iz/e /usr/bin/nescc a.nc
nescc       c /usr/bin/perl     perl -MFile::Spec::Cache -d:Trace -pie /usr/bin/nescc a.nc
-           - /usr/bin/perl     perl -I nescc x
-           - /usr/bin/perl     perl -wle1 nescc
-           - /usr/bin/bash     bash -ec kotlinc
-           - /usr/bin/bash     bash -ce kotlinc
-           - /usr/bin/bash     bash -es tsc
-           - /usr/bin/bash     bash -o
-           - /usr/bin/bash     bash -
-           - /usr/bin/perl     perl -nE nescc
-           - /usr/bin/dash     sh -c gcc~a.c
-           - /usr/bin/perl     perl -e nescc

# the loader and user-mode emulators run what they are given
tcc         c /lib64/ld-linux-x86-64.so.2  ld-linux-x86-64.so.2 ./tcc a.c
tcc         q /lib64/ld-linux-x86-64.so.2  /lib64/ld-linux-x86-64.so.2 /usr/bin/tcc -v
tcc         c /lib64/ld-linux-x86-64.so.2  ld.so --library-path /x --preload y --argv0 z ./tcc a.c
tcc         c /lib/ld-musl-x86_64.so.1     ld-musl-x86_64.so.1 --library-path=/x -- ./tcc a.c
tcc         c /lib/x86_64-linux-gnu/ld-2.31.so  ld-2.31.so ./tcc a.c
javac       c /lib64/ld-linux-x86-64.so.2  ld.so /usr/bin/java A.java
gcc-driver  c /usr/bin/qemu-aarch64-static qemu-aarch64-static -L /x /usr/bin/gcc gcc a.c
tcc         c /usr/bin/qemu-aarch64        qemu-aarch64 --cpu max -plugin a.so --trace x -strace ./tcc a.c
tcc         c /usr/bin/qemu-aarch64        qemu-aarch64 --E A=b -t 1~2~3 -tb-size 9 -- ./tcc a.c
-           - /usr/bin/qemu-aarch64        qemu-aarch64 --0 ./tcc ./ls
go-compile  c /usr/bin/qemu-aarch64        qemu-aarch64 /usr/local/go/pkg/tool/linux_arm64/compile a.go
tcc         c /lib64/ld-linux-x86-64.so.2  ld.so /lib64/ld-linux-x86-64.so.2 ./tcc a.c
-           - /lib64/ld-linux-x86-64.so.2  ld.so --list ./tcc
-           - /lib64/ld-linux-x86-64.so.2  ld.so ./ls
-           - /lib64/ld-linux-x86-64.so.2  ld.so
-           - /lib64/ld-linux-x86-64.so.2  ld.so ld.so ld.so ld.so ld.so ./tcc a.c

# what runs something else that is seen by itself
-           - /usr/bin/env      env gcc a.c
-           - /bin/busybox      busybox cc a.c
-           - /usr/bin/ccache   ccache gcc -c a.c
-           - /usr/bin/make     make CC=gcc
-           - /usr/bin/cargo    cargo build
-           - /usr/bin/npx      npx tsc
";

#[test]
fn calls_are_judged_by_their_arguments() {
    let database = database();
    let mut rows = 0;
    for row in CALLS.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let [family, request, path, args @ ..] = &row.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{row}");
        };
        let args: Vec<Vec<u8>> = args.iter().map(|a| a.replace('~', " ").into_bytes()).collect();
        let comm = path.rsplit('/').next().unwrap().as_bytes();
        let call = Invocation { path: path.as_bytes(), comm: &comm[..comm.len().min(15)], args: Some(&args) };
        let judgement = database.judge(&call, None);
        let verdict = judgement.verdict;
        if *family == "-" {
            assert!(!verdict.kind.is_toolchain(), "{row}: {verdict:?}");
        } else {
            assert!(verdict.kind.is_toolchain(), "{row}: {verdict:?}");
            assert_eq!(verdict.family, *family, "{row}");
            let expected = if *request == "q" { Request::Query } else { Request::Compile };
            assert_eq!(judgement.request, expected, "{row}");
            // What the arguments tell is asked for, but for a script by its shell's.
            let shell = ["dash", "bash", "perl"].iter().any(|shell| path.ends_with(shell));
            assert_eq!(database.candidate(&call) == Candidate::No, shell, "{row}");
        }
        rows += 1;
    }
    assert!(rows >= 80, "{rows} rows");
}

#[test]
fn arguments_and_scripts_are_evidence() {
    let database = database();
    for (path, args, expected) in [
        ("/usr/bin/java", "java A.java", &[Evidence::Arguments][..]),
        ("/usr/bin/node", "node /usr/bin/tsc", &[Evidence::Script]),
        ("/usr/bin/node", "node /x/typescript/bin/tsc", &[Evidence::Script, Evidence::Path]),
        ("/usr/bin/dotnet", "dotnet build", &[Evidence::Name, Evidence::Arguments]),
        ("/usr/bin/python3", "python3 -m ziglang cc", &[Evidence::Arguments]),
        ("/lib64/ld-linux-x86-64.so.2", "ld.so ./tcc", &[Evidence::Name, Evidence::Arguments]),
        ("/usr/bin/go", "go build", &[Evidence::Name]),
    ] {
        let args: Vec<Vec<u8>> = args.split(' ').map(|a| a.as_bytes().to_vec()).collect();
        let call = Invocation { path: path.as_bytes(), comm: b"", args: Some(&args) };
        assert_eq!(database.judge(&call, None).verdict.evidence, expected, "{path} {args:?}");
    }
}

#[test]
fn a_call_with_too_many_arguments_is_no_query() {
    let database = database();
    let mut args = vec![b"-v".to_vec(); 4_000];
    let request = |args: &[Vec<u8>]| {
        database.judge(&Invocation { path: b"/usr/bin/gcc", comm: b"gcc", args: Some(args) }, None).request
    };
    assert_eq!(request(&args), Request::Query);
    args.resize(5_000, b"-v".to_vec());
    assert_eq!(request(&args), Request::Compile);
}

/// An interpreter under a name that says nothing is told by its content, and what it runs by its arguments as ever.
#[test]
fn a_renamed_interpreter_compiles_by_its_arguments() {
    let database = database();
    for (family, args, expected) in [
        ("java", "x -m jdk.compiler/com.sun.tools.javac.Main A.java", "javac"),
        ("java", "x -jar app.jar", "java"),
        ("node", "x /usr/share/nodejs/typescript/bin/tsc a.ts", "tsc"),
        ("node", "x server.js", "node"),
        ("python", "x -m ziglang cc a.c", "zig"),
        ("mono", "x /usr/lib/mono/4.5/mcs.exe a.cs", "mcs"),
        ("erlang", "x -- -extra +elixirc a.ex", "elixirc"),
        ("emulator", "x /usr/bin/tcc a.c", "tcc"),
    ] {
        let recognised = Recognition {
            family: family.to_owned(),
            kind: Kind::NotCompiler,
            toolchain: None,
            version: None,
            confidence: Confidence::High,
            evidence: vec![Evidence::Marker],
        };
        let content = Content { elf: true, recognised: Some(recognised), ..Content::default() };
        let args: Vec<Vec<u8>> = args.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        let call = Invocation { path: b"/tmp/x", comm: b"x", args: Some(&args) };
        let verdict = database.judge(&call, Some(&content)).verdict;
        assert_eq!(verdict.family, expected, "{args:?}");
        assert_eq!(verdict.kind.is_toolchain(), family != expected, "{args:?}");
        assert_ne!(database.content_says(&content), ContentSays::Innocent, "{family}");
    }
}
