#ifndef COMPLETE_H
#define COMPLETE_H

/* The messages that every State of 2020 had within it, and without which the observer
 * toolkit's UI ends: an empty one stands for what a source does not know. */

#include <stddef.h>
#include <stdint.h>

/* Copies a State that wire_check accepted and puts in, where they are missing:
 * subsystems with a DHT that has params and a bucket; timeline, traffic (both directions)
 * and a StreamList in each connection; timeline and traffic in each stream. Adds shift, in
 * ms, to every time that is not 0. Returns the bytes of the result; when these are more
 * than max, out is of no use. */
size_t complete_state(uint8_t *out, size_t max, const uint8_t *in, size_t len, uint64_t shift);

/* The same, without a shift, for the ServerMessage of a snapshot. Returns where the result, then
 * *len bytes, begins in out; or message as it is, when the result takes more than max bytes. */
const uint8_t *complete_message(uint8_t *out, size_t max, const uint8_t *message, size_t *len);

#endif
