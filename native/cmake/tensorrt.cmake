# What runs TensorRT's plans: libwrn_runner_tensorrt and libwrn_runner_tensorrt_rtx, each built where the headers of its
# flavour and CUDA's are found. libwrn_runner loads them at run time, and they TensorRT and the CUDA driver; nothing of
# NVIDIA's is linked. TENSORRT_INCLUDE_DIR, TENSORRT_RTX_INCLUDE_DIR and CUDA_INCLUDE_DIR name the folders of the headers.
option(WRN_TENSORRT "Build what runs TensorRT's plans, where its headers are found" ON)

function(wrn_add_plan_library flavor include)
  set(name wrn_runner_${flavor})
  add_library(${name} SHARED tensorrt/context.cpp tensorrt/cuda.cpp tensorrt/execution.cpp tensorrt/library.cpp
    tensorrt/logger.cpp tensorrt/memory.cpp tensorrt/plan.cpp src/plan/profiles.cpp src/plan/validity.cpp
    src/text/format.cpp)
  target_compile_features(${name} PRIVATE cxx_std_17)
  target_compile_options(${name} PRIVATE -Wall -Wextra -Wpedantic -Wconversion -Wshadow
    $<$<BOOL:${WRN_STRICT}>:-Werror>)
  target_compile_definitions(${name} PRIVATE WRN_VERSION="${PROJECT_VERSION}")
  target_include_directories(${name} SYSTEM PRIVATE ${include} ${CUDA_INCLUDE_DIR})
  target_include_directories(${name} PRIVATE src include)
  target_link_libraries(${name} PRIVATE Threads::Threads ${CMAKE_DL_LIBS})
  target_link_options(${name} PRIVATE
    -Wl,--version-script=${CMAKE_CURRENT_SOURCE_DIR}/tensorrt/exports.map -Wl,-z,nodelete -Wl,-z,relro,-z,now)
  set_target_properties(${name} PROPERTIES CXX_EXTENSIONS OFF CXX_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON SOVERSION 1 BUILD_WITH_INSTALL_RPATH ON INSTALL_RPATH "$ORIGIN"
    LINK_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/tensorrt/exports.map)
  install(TARGETS ${name} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} NAMELINK_SKIP)  # no program is linked to it
endfunction()

if(WRN_TENSORRT)
  find_path(CUDA_INCLUDE_DIR cuda_runtime_api.h HINTS $ENV{CUDA_HOME}/include /usr/local/cuda/include)
  find_path(TENSORRT_INCLUDE_DIR NvInferRuntime.h)
  find_path(TENSORRT_RTX_INCLUDE_DIR NvInferRuntime.h NO_DEFAULT_PATH)
  foreach(flavor tensorrt tensorrt_rtx)
    string(TOUPPER ${flavor} variable)
    set(include ${${variable}_INCLUDE_DIR})
    if(CUDA_INCLUDE_DIR AND include)
      message(STATUS "libwrn_runner_${flavor}: with the headers in ${include} and ${CUDA_INCLUDE_DIR}")
      wrn_add_plan_library(${flavor} ${include})
    else()
      message(STATUS "libwrn_runner_${flavor}: not built, as no headers are found: give -D${variable}_INCLUDE_DIR "
        "and -DCUDA_INCLUDE_DIR")
    endif()
  endforeach()
endif()
