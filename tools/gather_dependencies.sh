#!/usr/bin/env bash
# tools/gather_dependencies.sh OUT: copies headers and static libraries of Debian's packages into the folder OUT, to
# build with `make build DEPENDENCIES=OUT TORCH_PYTHON=...` on a machine that has torch, g++, CMake and ninja, but none
# of these packages and no network. The machine must have the same processor family, and a glibc as new as here.
set -euo pipefail

out=${1:?usage: tools/gather_dependencies.sh OUT}
packages=(libcli11-dev nlohmann-json3-dev libpcre2-dev libutf8proc-dev libxxhash-dev libgtest-dev libgmock-dev
  libgloo-dev)
wanted='^/usr/include/(CLI|nlohmann|gtest|gmock|gloo|pcre2\.h|utf8proc\.h|xxhash\.h|xxh3\.h)|^/usr/lib/.*/lib(pcre2-8|utf8proc|gtest|gtest_main|gmock|gmock_main)\.a$'

missing=()
for package in "${packages[@]}"; do
  [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
done
if ((${#missing[@]} > 0)); then
  echo "gather_dependencies: these Debian packages are missing; install them first: sudo apt-get install -y ${missing[*]}" >&2
  exit 1
fi

mkdir -p "$out/include" "$out/lib"
for package in "${packages[@]}"; do
  dpkg -L "$package" | { grep -E "$wanted" || true; } | while read -r file; do
    [[ -f $file ]] || continue
    case $file in
      *.a) cp "$file" "$out/lib/" ;;
      *) install -D -m 644 "$file" "$out/include/${file#/usr/include/}" ;;
    esac
  done
done
for file in include/{CLI/CLI.hpp,nlohmann/json.hpp,gtest/gtest.h,gloo/algorithm.h,pcre2.h,utf8proc.h} lib/lib{pcre2-8,utf8proc,gtest,gtest_main}.a; do
  [[ -f $out/$file ]] || { echo "gather_dependencies: $file was not found in ${packages[*]}" >&2; exit 1; }
done
strip --strip-debug "$out"/lib/*.a
du -sh "$out"
