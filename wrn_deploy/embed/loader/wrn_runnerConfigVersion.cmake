# Before 1.0, versions with the same second number fit; afterwards, those with the same first number.
set(PACKAGE_VERSION "@WRN_VERSION@")

string(REGEX MATCH "^[0-9]+\\.[0-9]+" _wrn_ours "${PACKAGE_VERSION}")
string(REGEX MATCH "^[0-9]+\\.[0-9]+" _wrn_wanted "${PACKAGE_FIND_VERSION}")
if(NOT _wrn_ours MATCHES "^0\\.")
  string(REGEX MATCH "^[0-9]+" _wrn_ours "${_wrn_ours}")
  string(REGEX MATCH "^[0-9]+" _wrn_wanted "${PACKAGE_FIND_VERSION}")
endif()

set(PACKAGE_VERSION_COMPATIBLE FALSE)
if(_wrn_ours STREQUAL _wrn_wanted AND NOT PACKAGE_VERSION VERSION_LESS PACKAGE_FIND_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
if(PACKAGE_VERSION VERSION_EQUAL PACKAGE_FIND_VERSION)
  set(PACKAGE_VERSION_EXACT TRUE)
endif()
