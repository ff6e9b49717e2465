/*
 * What must be true of the ring whatever happens to a victim. The oracle is the ring's consumer
 * and two steady producers in one process. It knows every record that it published, in order, and
 * checks each that it takes: whole, in its place, once. The victim's records carry their number.
 */
#ifndef ORACLE_H
#define ORACLE_H

#include "shared/ring.h"
#include "shared/ring_layout.h"

#define ORACLE_STEADY 2      /* lanes that the oracle itself owns */
#define ORACLE_VICTIM 0      /* source of the victim's records */
#define ORACLE_RECORD_MIN 16 /* bytes */

struct oracle {
	char instance[32];
	struct tr_geometry geometry;
	struct ring *producer[ORACLE_STEADY];
	uint32_t hint[ORACLE_STEADY];
	struct ring_consumer *consumer;
	char *batch; /* ring_batch_max() bytes */
	uint64_t published, taken; /* steady records */
	uint64_t victim_next;      /* number of the victim's next record */
	const char *scenario;      /* for messages */
	uint64_t point;
	uint64_t failures;
};

/* Makes the ring of this process's own instance. */
void oracle_open(struct oracle *oracle, const char *name);
void oracle_close(struct oracle *oracle);
/* Attaches the steady producers; each claims its lane with a first record. */
void oracle_attach(struct oracle *oracle);
void oracle_detach(struct oracle *oracle);
/* Becomes the consumer. */
void oracle_consume(struct oracle *oracle);
/* Ends being it; leaves the ring as it is. */
void oracle_leave(struct oracle *oracle);

/* Writes record `number` of a source, `bytes` long. */
void oracle_write(char *to, size_t bytes, uint64_t source, uint64_t number);
/* False, and a message, unless `holds`. */
bool oracle_expect(struct oracle *oracle, bool holds, const char *what);

/* Each steady producer publishes `each` records: at once, or it is a failure. */
void oracle_publish(struct oracle *oracle, unsigned each);
/* Takes what is there. Records of the victim must be numbered on from victim_next. Returns how many. */
uint64_t oracle_take(struct oracle *oracle);
void oracle_retire(struct oracle *oracle);
/* Nothing published by the steady ones is missing, and nothing was damaged or repaired. */
void oracle_complete(struct oracle *oracle);
/* After retiring and an audit only the steady producers own lanes. */
void oracle_lanes_back(struct oracle *oracle);
/* Publishes, takes and retires until the order ring has been lapped. */
void oracle_lap(struct oracle *oracle);

/* What came of the scenarios of a program. */
struct oracle_tally {
	uint64_t points, failures, passed, failed;
	char text[400]; /* the points of each */
};
/* A scenario is through: it has passed when the oracle has seen no failure since the one before. */
void oracle_count(const struct oracle *oracle, struct oracle_tally *tally, const char *scenario, uint64_t points);
/* Prints it all. False: some have failed. */
bool oracle_report(const struct oracle_tally *tally);

#endif
