#!/usr/bin/env bash
# Builds a Docker image with Apache Kafka where no image can be pulled: Kafka from Maven's
# repository, a Java runtime cut to size by jlink, the C library's files from this machine, and
# nothing else. It installs nothing, and builds nothing when nothing has changed.
#
#   build.sh          builds localhost/chatmonitor-kafka:<version>
#   FORCE=1 build.sh  builds even when nothing has changed
set -euo pipefail
cd "$(dirname "$0")"

version="$(sed -n '/<artifactId>kafka_2.13</,/<version>/s:.*<version>\(.*\)</version>.*:\1:p' pom.xml)"
image="localhost/chatmonitor-kafka:$version"
# java.desktop is for one class, java.beans.PropertyChangeEvent, that log4j cannot do without.
modules=java.base,java.desktop,java.logging,java.management,java.naming,java.sql,java.xml,java.security.jgss,java.security.sasl,jdk.unsupported,jdk.management,jdk.zipfs

say() { echo "kafka-image: $*" >&2; }

need() { # command, what it is for, what to install
  command -v "$1" >/dev/null && return
  say "$1 is missing: it $2. Debian and Ubuntu: apt-get install $3"
  missing=1
}

missing=0
need docker "keeps the image" docker.io
need mvn "fetches Kafka" maven
need javac "compiles the start program" default-jdk-headless
need jlink "makes the Java runtime" default-jdk-headless
need sha256sum "checks what was fetched" coreutils
[ "$missing" = 0 ] || exit 1
if ! docker version >/dev/null 2>&1; then
  say "no Docker engine answers: start one (dockerd), or set DOCKER_HOST"
  exit 1
fi

# What the image is made of: the files here, the JDK and the C library.
inputs="$({ sha256sum -- * && javac -version 2>&1 && ldd --version | sed -n 1p; } | sha256sum | cut -d' ' -f1)"
built="$(docker image inspect -f '{{index .Config.Labels "chatmonitor.inputs"}}' "$image" 2>/dev/null || true)"
if [ "$built" = "$inputs" ] && [ -z "${FORCE:-}" ]; then
  say "$image is up to date"
  exit 0
fi

began=$SECONDS
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
root="$work/root"
mkdir -p "$root/kafka/libs" "$root/etc" "$root/tmp" "$root/data"

say "fetching Kafka $version"
if ! mvn -q -B -f pom.xml dependency:copy-dependencies -DincludeScope=runtime \
  -DoutputDirectory="$root/kafka/libs" >"$work/mvn.log" 2>&1; then
  tail -n 20 "$work/mvn.log" >&2
  say "Maven could not fetch Kafka: see above"
  exit 1
fi
(cd "$root/kafka/libs" && sha256sum -- *.jar) >"$work/sums"
if ! diff -u SHA256SUMS "$work/sums" >&2; then
  say "what Maven fetched (+) is not what SHA256SUMS says (-): nothing was built"
  exit 1
fi

say "making the Java runtime"
jlink --add-modules "$modules" --strip-debug --no-header-files --no-man-pages --compress=2 --output "$root/java" 2>"$work/jlink.log" ||
  { cat "$work/jlink.log" >&2; exit 1; }
rm -f "$root"/java/lib/lib{awt,awt_headless,awt_xawt,fontmanager,freetype,javajpeg,jawt,jsound,lcms,mlib_image,splashscreen}.so
mkdir "$work/classes"
javac --release 17 -d "$work/classes" -cp "$root/kafka/libs/*" Start.java
cp "$work/classes"/*.class log4j2.properties "$root/kafka/"
echo 'kafka:x:1000:1000::/tmp:/none' >"$root/etc/passwd"
chmod 1777 "$root/tmp" "$root/data"

# The shared libraries that the runtime, and the compression libraries in the jars, are linked to.
mkdir "$work/native"
for jar in "$root"/kafka/libs/{zstd-jni,snappy-java,lz4-java}-*.jar; do
  (cd "$work/native" && jar -xf "$jar" && rm -rf META-INF)
done
arch="$(uname -m)"
{
  ldd "$root/java/bin/java"
  find "$root/java/lib" -name '*.so' -exec ldd {} +
  find "$work/native" -ipath '*linux*' \( -path "*/$arch/*" -o -path "*/${arch/x86_64/amd64}/*" \) -name '*.so' -exec ldd {} +
} | grep -o '/[^ ]*\.so[^ ]*' | grep -v -e "^$work" -e ':$' | sort -u | while read -r library; do
  cp -L --parents "$library" "$root"
done

say "importing $image"
tar -C "$root" --sort=name --owner=0 --group=0 --numeric-owner -c . | docker import \
  --change 'ENTRYPOINT ["/java/bin/java","-Xmx384m","-XX:+UseSerialGC","-XX:TieredStopAtLevel=1","-Dlog4j2.configurationFile=/kafka/log4j2.properties","-cp","/kafka:/kafka/libs/*","Start"]' \
  --change 'USER 1000:1000' --change 'WORKDIR /tmp' --change 'EXPOSE 9092' \
  --change "LABEL chatmonitor.inputs=$inputs" \
  --change "LABEL org.opencontainers.image.version=$version" \
  --message "Apache Kafka $version" - "$image" >/dev/null
say "$image is built: $(docker image inspect -f '{{.Size}}' "$image" | awk '{ printf "%.0f MB", $1 / 1e6 }'), $((SECONDS - began)) s"
