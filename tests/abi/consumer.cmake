# CMakeLists.txt of a program that uses an installed weft, in both of its forms.
cmake_minimum_required(VERSION 3.22)
project(consumer LANGUAGES C)
find_package(weft 0.1 REQUIRED)
add_executable(shared echo.c)
target_link_libraries(shared PRIVATE weft::weft)
add_executable(static echo.c)
target_link_libraries(static PRIVATE weft::weft_static)
