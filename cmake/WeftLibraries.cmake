# libweft.so, libweft.a, the `weft` command, and what is installed with them.

set(weft_map "${PROJECT_SOURCE_DIR}/abi/weft.map")
set(weft_outside weft_wolfssl weft_wide_aes PkgConfig::LIBUV Threads::Threads)

# --- weft-core.o: all rooms, optimised as one; without LTO just their objects --------------------------------------------
set(room_objects "")
foreach(room IN LISTS all_rooms)
    get_target_property(kind ${room} TYPE)
    if(kind STREQUAL OBJECT_LIBRARY)
        list(APPEND room_objects $<TARGET_OBJECTS:${room}>)
    endif()
endforeach()
set(weft_core ${all_rooms})
set(weft_core_objects ${room_objects})
set(weft_shared_sources "")
if(WEFT_LTO_FLAGS)
    set(weft_core_object "${CMAKE_CURRENT_BINARY_DIR}/weft-core.o")
    separate_arguments(weft_core_flags NATIVE_COMMAND "${CMAKE_C_FLAGS} ${CMAKE_C_FLAGS_RELEASE}")
    add_custom_command(OUTPUT "${weft_core_object}"
        COMMAND "${CMAKE_C_COMPILER}" ${weft_core_flags} -fPIC -fno-omit-frame-pointer -fstack-protector-strong
            -flto=auto -flinker-output=nolto-rel ${WEFT_PROFILE_FLAGS} -r -o "${weft_core_object}" ${room_objects}
        DEPENDS ${room_objects}
        COMMENT "Optimising weft-core.o" COMMAND_EXPAND_LISTS VERBATIM)
    add_custom_target(weft_core_target DEPENDS "${weft_core_object}")
    add_library(weft_core INTERFACE)
    add_dependencies(weft_core weft_core_target)
    target_link_libraries(weft_core INTERFACE "${weft_core_object}")
    set_property(TARGET weft_core PROPERTY INTERFACE_LINK_DEPENDS "${weft_core_object}")
    set_source_files_properties("${weft_core_object}" PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
    set(weft_shared_sources "${weft_core_object}") # a library must have some
    set(weft_core weft_core)
    set(weft_core_objects "${weft_core_object}")
endif()

# --- libweft.so: hidden visibility, the version script and --exclude-libs each keep what is not weft_* inside ----------
add_library(weft_shared SHARED ${weft_shared_sources})
add_library(weft::weft ALIAS weft_shared)
set_target_properties(weft_shared PROPERTIES OUTPUT_NAME weft EXPORT_NAME weft
    VERSION ${PROJECT_VERSION} SOVERSION ${WEFT_ABI_MAJOR} LINKER_LANGUAGE C)
target_include_directories(weft_shared PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/abi/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(weft_shared PRIVATE $<BUILD_INTERFACE:weft_options> ${weft_outside})
if(NOT weft_shared_sources)
    target_link_libraries(weft_shared PRIVATE ${all_rooms})
endif()
target_link_options(weft_shared PRIVATE -Wl,--exclude-libs,ALL)
if(EXISTS "${weft_map}")
    target_link_options(weft_shared PRIVATE "-Wl,--version-script=${weft_map}")
    set_property(TARGET weft_shared PROPERTY LINK_DEPENDS "${weft_map}")
endif()

# --- libweft.a: all objects and the parts of wolfSSL and the ciphers they use become one object; then every name but weft_* is local,
# so a program may link its own wolfSSL beside ours. libuv stays outside (weft.pc asks for it). -------------------------
set(weft_archive "${CMAKE_CURRENT_BINARY_DIR}/libweft.a")
set(weft_joined "${CMAKE_CURRENT_BINARY_DIR}/weft-joined.o")
add_custom_command(OUTPUT "${weft_archive}"
    COMMAND "${CMAKE_LINKER}" -r -o "${weft_joined}" ${weft_core_objects} ${WEFT_WOLFSSL_ARCHIVE} ${WEFT_WIDE_AES_ARCHIVE}
    COMMAND "${CMAKE_OBJCOPY}" --wildcard --keep-global-symbol=weft_* "${weft_joined}"
    COMMAND "${CMAKE_COMMAND}" -E rm -f "${weft_archive}"
    COMMAND "${CMAKE_AR}" rcs "${weft_archive}" "${weft_joined}"
    COMMAND "${CMAKE_COMMAND}" -E rm -f "${weft_joined}"
    DEPENDS ${weft_core_objects} ${WEFT_WOLFSSL_ARCHIVE} ${WEFT_WIDE_AES_ARCHIVE}
    COMMENT "Joining libweft.a" COMMAND_EXPAND_LISTS VERBATIM)
add_custom_target(weft_static ALL DEPENDS "${weft_archive}")

# --- the command: one file to copy around. It sees the public header and nothing else. --------------------------------
file(GLOB cli_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/abi/cli/*.c")
if(cli_sources)
    add_library(weft_cli OBJECT ${cli_sources})
    target_include_directories(weft_cli PRIVATE "${PROJECT_SOURCE_DIR}/abi/include")
    target_compile_definitions(weft_cli PRIVATE _GNU_SOURCE=)
    target_link_libraries(weft_cli PRIVATE weft_options)
    add_executable(weft_command)
    set_target_properties(weft_command PROPERTIES OUTPUT_NAME weft LINKER_LANGUAGE C)
    target_link_libraries(weft_command PRIVATE weft_options weft_cli ${weft_core} ${weft_outside} m)
    install(TARGETS weft_command RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
    install(FILES "${PROJECT_SOURCE_DIR}/abi/cli/weft.1" DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
endif()

# --- install: header, both libraries, weft.pc, find_package(weft) ------------------------------------------------------
# weft.pc finds its prefix from where it lies, so an installed tree can be moved (and installed to any --prefix).
file(RELATIVE_PATH WEFT_PC_PREFIX "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig" "${CMAKE_INSTALL_PREFIX}")
string(REGEX REPLACE "/$" "" WEFT_PC_PREFIX "${WEFT_PC_PREFIX}")
file(RELATIVE_PATH WEFT_PC_LIBDIR "${CMAKE_INSTALL_PREFIX}" "${CMAKE_INSTALL_FULL_LIBDIR}")
file(RELATIVE_PATH WEFT_PC_INCLUDEDIR "${CMAKE_INSTALL_PREFIX}" "${CMAKE_INSTALL_FULL_INCLUDEDIR}")
configure_file("${PROJECT_SOURCE_DIR}/cmake/weft.pc.in" weft.pc @ONLY)
configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/weft-config.cmake.in" weft-config.cmake
    INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/weft PATH_VARS CMAKE_INSTALL_LIBDIR)
write_basic_package_version_file(weft-config-version.cmake COMPATIBILITY SameMinorVersion)

install(TARGETS weft_shared EXPORT weft_targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES "${weft_archive}" DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY "${PROJECT_SOURCE_DIR}/abi/include/weft" DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
    FILES_MATCHING PATTERN "*.h")
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/weft.pc" DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(EXPORT weft_targets FILE weft-targets.cmake NAMESPACE weft:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/weft)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/weft-config.cmake" "${CMAKE_CURRENT_BINARY_DIR}/weft-config-version.cmake"
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/weft)
