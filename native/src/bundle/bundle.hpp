// bundle.hpp: a bundle's folder: its manifest, and its graphs with every check of the Python runner; never writes.
#pragma once

#include <string>

#include "bundle/manifest.hpp"

namespace wrn {

class Bundle {
 public:
  // Opens the bundle; `signed_by` is the PEM file of who must have signed it, or empty. Throws Error or SystemError.
  Bundle(const std::string &folder, std::string signed_by);

  const std::string &folder() const { return folder_; }
  const Model &model() const { return manifest_.model; }
  // The path of an artifact's file, for errors.
  std::string file(const std::string &key) const;

  // The graph `key`, checked: it is there, not stale, the file that the manifest describes, and harmless. A bundle that
  // another process changes meanwhile is read again.
  std::string load_graph(const std::string &key);

 private:
  std::string read_graph(const std::string &key) const;
  void check_origin(const Artifact &artifact, const std::string &remedy) const;
  std::string command_for(const std::string &key) const;
  std::string read_manifest() const;

  std::string folder_, signed_by_, content_;
  Manifest manifest_;
};

}  // namespace wrn
