#ifndef COMPLETE_H
#define COMPLETE_H

/* The observer toolkit's UI of 2020 crashes at a State that lacks certain messages, which every State of
 * that time had. Here empty ones are put in place of those that a source does not know. No I/O, no
 * allocation. */

#include <stddef.h>
#include <stdint.h>

/* Copies to out, of max bytes, a State of len bytes that wire_check accepted, and puts in where they are
 * missing: subsystems with a DHT that has params and a bucket; timeline, traffic (both directions)
 * and a StreamList in each connection; timeline and traffic in each stream. Adds shift, in
 * ms, to every time that is not 0. Returns how many bytes the result has; if these are more
 * than max, what out holds is of no use. */
size_t complete_state(uint8_t *out, size_t max, const uint8_t *in, size_t len, uint64_t shift);

/* Does the same, without a shift, for a ServerMessage of *len bytes that holds a State. Returns where
 * within out the result begins, and sets *len to its bytes; or returns message, unchanged, if the
 * result would take more than max bytes. */
const uint8_t *complete_message(uint8_t *out, size_t max, const uint8_t *message, size_t *len);

#endif
