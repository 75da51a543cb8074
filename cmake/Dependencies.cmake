# Debian's packages (or the same files gathered in NORMTWEAK_DEPENDENCIES): headers of CLI11 and nlohmann-json, PCRE2,
# utf8proc.
find_package(Threads REQUIRED)
find_path(CLI11_INCLUDE CLI/CLI.hpp REQUIRED)
find_path(JSON_INCLUDE nlohmann/json.hpp REQUIRED)
find_path(PCRE2_INCLUDE pcre2.h REQUIRED)
find_library(PCRE2_LIBRARY NAMES pcre2-8 REQUIRED)
find_path(UTF8PROC_INCLUDE utf8proc.h REQUIRED)
find_library(UTF8PROC_LIBRARY NAMES utf8proc REQUIRED)
if(UTF8PROC_LIBRARY MATCHES "\\.a$")
  add_compile_definitions(UTF8PROC_STATIC)  # as its header asks; PCRE2 wants the like on Windows only
endif()
