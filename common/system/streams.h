/* SPDX-License-Identifier: MIT
 *
 * A program's standard streams. Call streams_open_missing() before any file is opened, and
 * streams_flush() before the program exits.
 */
#ifndef KSM_STREAMS_H
#define KSM_STREAMS_H

/* Opens descriptors 0 to 2 if they are closed, so that no file opened later gets one of these
 * numbers. Then reading 0 ends at once, writing to 1 fails with EBADF, so that lost output is
 * reported, and what is written to 2 is discarded. */
void streams_open_missing(void);

/* Flushes stdout. Returns 0; or -1 if any output could not be written, after a message on stderr:
 * "PROGRAM: NAME: No space left on device". */
int streams_flush(const char *program, const char *name);

#endif
