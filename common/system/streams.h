/* SPDX-License-Identifier: MIT
 *
 * A program's standard streams: what to do before its first file is opened, and before it exits.
 */
#ifndef KSM_STREAMS_H
#define KSM_STREAMS_H

/* Opens descriptors 0 to 2 if they are closed, so that no file opened later gets one of these
 * numbers. Reading from such a descriptor ends at once; writing to it fails with EBADF. */
void streams_open_missing(void);

/* Writes what stdio holds for stdout. Returns 0; or -1 if any of the output could not be written:
 * then a message on stderr, "PROGRAM: NAME: No space left on device", says so. */
int streams_flush(const char *program, const char *name);

#endif
