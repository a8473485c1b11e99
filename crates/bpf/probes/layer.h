/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0-only) */
/* Where a file comes from: the layer of an overlay, or memory. */
#ifndef PALISADE_LAYER_H
#define PALISADE_LAYER_H

#include "field.h"

#define OVERLAYFS_MAGIC 0x794c7630
#define LAYER_NONE 0
#define LAYER_LOWER 1
#define LAYER_UPPER 2
/* Which layer of an overlay holds the file. The upper dentry lies right behind the inode in `struct ovl_inode`. */
static __always_inline u32 overlay_layer(struct file *file, bool is_typed)
{
	struct dentry *dentry = FIELD(is_typed, file, f_path.dentry), *upper = NULL;
	if (FIELD2(is_typed, dentry, d_sb, s_magic) != OVERLAYFS_MAGIC)
		return LAYER_NONE;
	struct inode *inode = FIELD(is_typed, dentry, d_inode);
	bpf_probe_read_kernel(&upper, sizeof(upper), (void *)inode + bpf_core_type_size(struct inode));
	return upper && BPF_CORE_READ(upper, d_inode, i_ino) ? LAYER_UPPER : LAYER_LOWER;
}

static __always_inline bool is_memfd(struct file *file, bool is_typed)
{
	struct dentry *dentry = FIELD(is_typed, file, f_path.dentry);
	char name[8] = {};
	if (FIELD(is_typed, dentry, d_parent) != dentry)
		return false;
	bpf_probe_read_kernel_str(name, 7, FIELD(is_typed, dentry, d_name.name));
	return name[0] == 'm' && name[1] == 'e' && name[2] == 'm' && name[3] == 'f' && name[4] == 'd' && name[5] == ':';
}

#endif
