# weft_wide_aes: BoringSSL's AES-GCM with VAES and VPCLMULQDQ, AES key schedule and SHA-256, from scripts/boringssl.sh, which is
# asked at every configure. Whether the processor has the instructions is asked at run time (core/crypto/gcm.c, aes.c and
# sha256.c); elsewhere than on x86-64 it is empty.
add_library(weft_wide_aes INTERFACE)
set(WEFT_WIDE_AES_ARCHIVE "")

set(weft_can_wide_aes OFF)
if(CMAKE_SYSTEM_NAME STREQUAL "Linux" AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$" AND CMAKE_SIZEOF_VOID_P EQUAL 8)
    set(weft_can_wide_aes ON)
endif()
option(WEFT_WIDE_AES "Carry BoringSSL's AES and SHA-256 for x86-64 processors" ${weft_can_wide_aes})

if(WEFT_WIDE_AES)
    execute_process(
        COMMAND "${CMAKE_COMMAND}" -E env "CC=${CMAKE_C_COMPILER}" "${PROJECT_SOURCE_DIR}/scripts/boringssl.sh"
        OUTPUT_VARIABLE weft_boringssl OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE weft_boringssl_failed)
    if(weft_boringssl_failed)
        message(FATAL_ERROR "scripts/boringssl.sh failed; its messages are above")
    endif()
    message(STATUS "BoringSSL: ${weft_boringssl}")
    set(WEFT_WIDE_AES_ARCHIVE "${weft_boringssl}/lib/libboringssl.a")
    target_compile_definitions(weft_wide_aes INTERFACE WEFT_WIDE_AES=1)
    target_link_libraries(weft_wide_aes INTERFACE "${WEFT_WIDE_AES_ARCHIVE}")
endif()
