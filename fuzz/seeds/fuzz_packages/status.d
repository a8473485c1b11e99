dPackage: base
Version: 1
