# weft_options: how every file of ours is compiled. Dependencies are not compiled with it.
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Release or Debug" FORCE)
endif()

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
check_pie_supported()

set(CMAKE_C_FLAGS_RELEASE "-O2 -g -DNDEBUG")
set(CMAKE_C_FLAGS_DEBUG "-Og -g3")

# What is shipped is optimised as a whole: a packet passes through a dozen small functions of as many files, and inlined
# they take a sixth less. The objects are "fat", so that tests link what is in them as it stands, and quickly; only
# weft-core.o (WeftLibraries) is made from the other half. gcc alone: with clang it would take its own linker.
set(WEFT_LTO_FLAGS "")
if(WEFT_LTO AND CMAKE_C_COMPILER_ID STREQUAL GNU AND CMAKE_BUILD_TYPE STREQUAL Release AND NOT WEFT_SANITIZE)
    set(WEFT_LTO_FLAGS -flto -ffat-lto-objects)
    if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64") # "rep stos" takes 40 cycles to begin; objects are smaller than that
        list(APPEND WEFT_LTO_FLAGS -mmemset-strategy=unrolled_loop:128:noalign,libcall:-1:noalign)
    endif()
    add_link_options(-fno-lto)
endif()

add_library(weft_options INTERFACE)
target_compile_options(weft_options INTERFACE
    -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wwrite-strings
    $<$<BOOL:${WEFT_WERROR}>:-Werror>
    -fno-omit-frame-pointer # profilers see whole stacks; costs a register we do not miss
    -fstack-protector-strong)

if(WEFT_FUZZ)
    if(NOT CMAKE_C_COMPILER_ID MATCHES Clang)
        message(FATAL_ERROR "WEFT_FUZZ needs clang; use the preset `fuzz`")
    endif()
    target_compile_options(weft_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(WEFT_SANITIZE)
    # A finding ends the program, so that a test which provokes it fails.
    target_compile_options(weft_options INTERFACE -fsanitize=${WEFT_SANITIZE} -fno-sanitize-recover=all)
    target_link_options(weft_options INTERFACE -fsanitize=${WEFT_SANITIZE})
else()
    target_compile_options(weft_options INTERFACE $<$<CONFIG:Release>:-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2>)
    target_link_options(weft_options INTERFACE -Wl,-z,defs)
endif()
target_link_options(weft_options INTERFACE -Wl,-z,now -Wl,-z,relro -Wl,-z,noexecstack)
