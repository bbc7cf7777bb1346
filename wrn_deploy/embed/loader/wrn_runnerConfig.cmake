# find_package(wrn_runner) gives the target wrn::runner. Found by -DCMAKE_PREFIX_PATH=FOLDER, which may be moved.
get_filename_component(_wrn_runner_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

if(NOT TARGET wrn::runner)
  add_library(wrn::runner SHARED IMPORTED)
  set_target_properties(wrn::runner PROPERTIES
    IMPORTED_LOCATION "${_wrn_runner_prefix}/lib/libwrn_runner.so.1"
    IMPORTED_SONAME "libwrn_runner.so.1"
    INTERFACE_INCLUDE_DIRECTORIES "${_wrn_runner_prefix}/include")
endif()

unset(_wrn_runner_prefix)
