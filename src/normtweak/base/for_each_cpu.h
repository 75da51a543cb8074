// One function compiled for several instruction sets, chosen when the program starts: the project is built for the
// oldest x86-64, where a loop over floats takes several times as long.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define NORMTWEAK_FOR_EACH_CPU __attribute__((target_clones("arch=skylake-avx512", "arch=haswell", "default")))
#else
#define NORMTWEAK_FOR_EACH_CPU
#endif
