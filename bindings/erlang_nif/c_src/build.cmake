# build.cmake - builds priv/weft_nif.so; run by rebar3's hook and by mix with `cmake -P c_src/build.cmake`.
#
# One build directory for all profiles: the core is the same in each. Environment:
#
#   WEFT_BUILD      a build of the core (with libweft.a), to link instead of building it again
#   WEFT_NIF_ASAN   1: with AddressSanitizer and UndefinedBehaviorSanitizer, into priv/weft_nif.so all the same
#   WEFT_NIF_BUILD  where to build; default: _build/native (_build/native-asan) beside rebar.config
#   WEFT_SOURCES    the sources of weft; default: three directories up
#   WEFT_NIF_JOBS   how many compilers at a time; default: as many as there are processors
get_filename_component(src "${CMAKE_CURRENT_LIST_DIR}" ABSOLUTE)
get_filename_component(root "${src}/.." ABSOLUTE)

set(args "-DPRIV_DIR=${root}/priv")
set(out "${root}/_build/native")
if("$ENV{WEFT_NIF_ASAN}" STREQUAL "1")
    set(out "${root}/_build/native-asan")
    list(APPEND args -DCMAKE_BUILD_TYPE=Debug "-DWEFT_SANITIZE=address,undefined")
else()
    list(APPEND args -DCMAKE_BUILD_TYPE=Release)
endif()
if(DEFINED ENV{WEFT_NIF_BUILD})
    set(out "$ENV{WEFT_NIF_BUILD}")
endif()
list(APPEND args "-DWEFT_BUILD_DIR=$ENV{WEFT_BUILD}")
if(DEFINED ENV{WEFT_SOURCES})
    list(APPEND args "-DWEFT_CORE_SOURCES=$ENV{WEFT_SOURCES}")
endif()
if(DEFINED ENV{ERLANG_ROOT_DIR} AND DEFINED ENV{ERLANG_ERTS_VER})
    list(APPEND args "-DERTS_INCLUDE_DIR=$ENV{ERLANG_ROOT_DIR}/erts-$ENV{ERLANG_ERTS_VER}/include")
endif()
find_program(ninja ninja)
if(ninja AND NOT EXISTS "${out}/Makefile")
    list(APPEND args -G Ninja)
endif()
find_program(ccache ccache)
if(ccache)
    list(APPEND args "-DCMAKE_C_COMPILER_LAUNCHER=${ccache}")
endif()
cmake_host_system_information(RESULT jobs QUERY NUMBER_OF_LOGICAL_CORES)
if(DEFINED ENV{WEFT_NIF_JOBS})
    set(jobs "$ENV{WEFT_NIF_JOBS}")
endif()

function(run)
    execute_process(COMMAND ${ARGV} RESULT_VARIABLE failed OUTPUT_VARIABLE text ERROR_VARIABLE text)
    if(failed)
        message(FATAL_ERROR "${text}")
    endif()
endfunction()
file(MAKE_DIRECTORY "${root}/priv")
# Profiles may be built at the same time: one after the other.
file(MAKE_DIRECTORY "${out}")
file(LOCK "${out}/build.lock" GUARD PROCESS TIMEOUT 1800)
run(${CMAKE_COMMAND} -S "${src}" -B "${out}" ${args})
run(${CMAKE_COMMAND} --build "${out}" --target weft_nif --parallel ${jobs})
