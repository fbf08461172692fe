// Package vm runs a program as the first process of a throw-away virtual machine,
// for measurements that need limits which the machine at hand does not give: a
// million descriptors in one process, memory that may be exhausted.
//
//	static programs --> initramfs (cpio, written here) \
//	a kernel: given, or Debian's package ---------------> QEMU: KVM where it boots, else emulation
//	                                                       |
//	first serial port: the kernel's console --> a file     |
//	second serial port: frames, one a line  <--------------/
//
// Nothing is installed, nothing needs root, and nothing of the machine is left: it
// has no disk and no network but its own loopback. Both sides are in this package:
// Boot, for who runs the machine, and Init, for what runs in it. What the frames
// say is their users' business.
package vm
