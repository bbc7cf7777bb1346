// bundle.hpp: a bundle's folder: its manifest, graphs and plans, with every check of the Python runner; never writes.
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
  bool has(const std::string &key) const { return manifest_.artifacts.count(key) > 0; }
  // What the manifest says of an artifact that is there.
  const Json &facts(const std::string &key) const { return manifest_.artifacts.find(key)->second.facts; }
  // The path of an artifact's file, for errors.
  std::string file(const std::string &key) const;

  // The graph `key`, checked: it is there, not stale, the file that the manifest describes, and harmless. A bundle that
  // another process changes meanwhile is read again.
  std::string load_graph(const std::string &key) { return load(key, true); }
  // The plan `key`, checked in the same way; only TensorRT can tell whether it is harmless.
  std::string load_plan(const std::string &key) { return load(key, false); }

 private:
  std::string load(const std::string &key, bool graph);
  std::string read(const std::string &key, bool graph) const;
  void check_origin(const Artifact &artifact, const std::string &remedy) const;
  std::string command_for(const std::string &key) const;
  std::string read_manifest() const;

  std::string folder_, signed_by_, content_;
  Manifest manifest_;
};

}  // namespace wrn
