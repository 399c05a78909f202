# WEFT_PGO: the library is compiled for what connections do at work. A build with counters comes first, works for some
# seconds (scripts/profile.sh) and says how often each branch was taken; then code that runs lies together and runs
# straight on, and what does not lies elsewhere. A round trip, which finds cold caches, gains most.
#
# The counts are taken once for a build directory and used from then on: a function that was changed since is compiled
# without them. To take them anew: remove profile/ in the build directory.
set(WEFT_PROFILE_FLAGS "")
if(WEFT_PGO)
    if(NOT WEFT_LTO_FLAGS)
        message(FATAL_ERROR "WEFT_PGO needs gcc, CMAKE_BUILD_TYPE=Release and WEFT_LTO=ON")
    endif()
    set(WEFT_PROFILE_STAMP "${PROJECT_BINARY_DIR}/profile/complete")
    set(profile_arguments -G "${CMAKE_GENERATOR}")
    foreach(name IN ITEMS CMAKE_C_COMPILER CMAKE_C_COMPILER_LAUNCHER CMAKE_MAKE_PROGRAM WEFT_SYSTEM_WOLFSSL WEFT_OWN_LIBUV)
        if(${name})
            list(APPEND profile_arguments "-D${name}=${${name}}")
        endif()
    endforeach()
    add_custom_command(OUTPUT "${WEFT_PROFILE_STAMP}"
        COMMAND "${PROJECT_SOURCE_DIR}/scripts/profile.sh" "${PROJECT_SOURCE_DIR}" "${PROJECT_BINARY_DIR}" ${profile_arguments}
        COMMAND "${CMAKE_COMMAND}" -E touch "${WEFT_PROFILE_STAMP}"
        COMMENT "Counting what weft does at work" VERBATIM)
    add_custom_target(weft_profile DEPENDS "${WEFT_PROFILE_STAMP}")
    # inlined more deeply, some loops look to the compiler as if they could leave their arrays
    set(WEFT_PROFILE_FLAGS "-fprofile-use=${PROJECT_BINARY_DIR}/profile/counts" -fprofile-partial-training
        -Wno-missing-profile -Wno-coverage-mismatch -Wno-stringop-overflow)
endif()
