// SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0-only)
/* The sensor's object: every probe. The loader loads those programs that an interest names. */
#include "kernel.h"
#include "record.h"
#include "call.h"
#include "path.h"
#include "enforce.h"
#include "process.h"
#include "files.h"
#include "network.h"
#include "calls.h"

/* The kernel's reading helpers are open to programs under a GPL-compatible licence only. */
char LICENSE[] SEC("license") = "GPL";
