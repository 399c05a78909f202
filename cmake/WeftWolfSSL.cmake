# weft_wolfssl: wolfSSL's headers (as system headers: their warnings are not ours) and library.
#
# By default scripts/wolfssl.sh supplies a static build that ends up inside libweft. It is asked at every configure; once
# the build is in the cache it answers at once.
add_library(weft_wolfssl INTERFACE)

if(WEFT_SYSTEM_WOLFSSL)
    pkg_check_modules(WOLFSSL REQUIRED IMPORTED_TARGET wolfssl>=5.7)
    target_link_libraries(weft_wolfssl INTERFACE PkgConfig::WOLFSSL)
    set(WEFT_PC_REQUIRES_WOLFSSL ", wolfssl")
    set(WEFT_CONFIG_WOLFSSL_MODULE "wolfssl")
    set(WEFT_WOLFSSL_ARCHIVE "")
else()
    set(weft_wolfssl_environment "")
    if(CMAKE_CROSSCOMPILING)
        execute_process(COMMAND "${CMAKE_C_COMPILER}" -dumpmachine OUTPUT_VARIABLE weft_host
            OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
        set(weft_wolfssl_environment "CC=${CMAKE_C_COMPILER}" "WEFT_HOST=${weft_host}")
    endif()
    execute_process(
        COMMAND "${CMAKE_COMMAND}" -E env ${weft_wolfssl_environment} "${PROJECT_SOURCE_DIR}/scripts/wolfssl.sh"
        OUTPUT_VARIABLE WEFT_WOLFSSL_PREFIX OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE weft_wolfssl_failed)
    if(weft_wolfssl_failed)
        message(FATAL_ERROR "scripts/wolfssl.sh failed; its messages are above")
    endif()
    message(STATUS "wolfSSL: ${WEFT_WOLFSSL_PREFIX}")
    set(WEFT_WOLFSSL_ARCHIVE "${WEFT_WOLFSSL_PREFIX}/lib/libwolfssl.a")
    set(WEFT_PC_REQUIRES_WOLFSSL "")
    set(WEFT_CONFIG_WOLFSSL_MODULE "")
    target_compile_definitions(weft_wolfssl INTERFACE WEFT_OWN_WOLFSSL=1) # nobody else uses its allocator
    target_include_directories(weft_wolfssl SYSTEM INTERFACE "${WEFT_WOLFSSL_PREFIX}/include")
    target_link_libraries(weft_wolfssl INTERFACE "${WEFT_WOLFSSL_ARCHIVE}" Threads::Threads m)
endif()
