# -*- encoding: utf-8 -*-
# stub: shop-kit 1.2.3.pre1 ruby lib

Gem::Specification.new do |s|
  s.name = "shop-kit".freeze
  s.version = "1.2.3.pre1"

  s.required_rubygems_version = Gem::Requirement.new("> 1.3.1".freeze) if s.respond_to? :required_rubygems_version=
  s.require_paths = ["lib".freeze]
  s.authors = ["The Palisade authors".freeze]
  s.date = "2026-11-27"
  s.licenses = ["MIT".freeze, "Apache-2.0".freeze]
  s.rubygems_version = "3.3.15".freeze
  s.summary = "A gem of the tests".freeze

  s.installed_by_version = "3.3.15" if s.respond_to? :installed_by_version
end
