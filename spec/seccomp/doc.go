// Package seccomp turns a runtime-spec LinuxSeccomp into a classic BPF program
// for seccomp(2), in pure Go, and resolves docker's default profile and
// profiles in docker's or the runtime-spec's JSON.
//
// The answers are those that runc gives with libseccomp, and the tests hold
// them against libseccomp itself. In particular:
//
//   - A rule whose action equals the default action is dropped, a rule without
//     arguments beats every rule with arguments for the same system call, and
//     of two without arguments the first counts. Among rules with arguments
//     the first that matches, in the order of the profile, decides.
//     (libseccomp merges overlapping rules into a tree of its own, whose order
//     is an accident, which refuses some mixtures and gets some wrong; this
//     package has one plain rule instead.)
//   - A rule that names one argument twice is taken apart into one rule per
//     condition (runc does so since it could not ask libseccomp for more).
//   - Arguments are compared as unsigned numbers, 64 bits wide on x86_64 and
//     aarch64, and by their low 32 bits on x86, x32 and arm.
//   - System calls of another ABI get the action KILL_THREAD unless the
//     profile lists that architecture; the native one is always in.
//   - What is newer than the newest system call of the profile gets ENOSYS
//     rather than the default action; see newest.
//
// What differs from libseccomp is the shape: each architecture's numbers are
// cut into ranges with one verdict each and searched by a balanced tree, so a
// call costs some ten instructions where the list costs hundreds.
package seccomp
