/*
 * Slows down who tries tokens: each wrong one comes in with the address that it came from, and how
 * long that address has to wait goes out. The first few cost nothing, since people mistype; then the
 * wait doubles with each, up to a minute. Nobody sleeps: who comes too early is turned away.
 *
 * The table belongs to one process and is bounded: of many addresses the ones that have been quiet
 * longest are forgotten. With several processes an address has as many tries in each. That is
 * enough: tokens are 256 random bits, and what is to be kept small is the noise.
 */
#ifndef APP_GUESSES_H
#define APP_GUESSES_H

#include <stdint.h>

#define GUESSES_FREE 5
#define GUESSES_WAIT_MAX_S 60
#define GUESSES_KEPT_S 600 /* after the last wrong one */

struct guesses;

struct guesses *guesses_new(void); /* NULL: out of memory */
void guesses_free(struct guesses **guesses);

/*
 * `address` is text, of IPv4 or IPv6; of the latter only the first 64 bits count, which is what one
 * customer has. All that is neither counts as one. `now_ms` is any clock that never goes back. Any thread.
 */
unsigned guesses_wait_s(struct guesses *guesses, const char *address, int64_t now_ms); /* 0: it may try */
void guesses_wrong(struct guesses *guesses, const char *address, int64_t now_ms);

#endif
