/*
 * The life of a task, as a table: what is not in it cannot happen.
 *
 *                 ┌──────────── interrupted ────────────┐
 *                 ▼                                     │
 *   scheduled ─due─► queued ─start─► running ─succeeded─► succeeded
 *       ▲              │ │             │ │ │
 *       └── snooze ────┼─┼─────────────┘ │ ├─ bury ─────► dead
 *                      │ └─ expire ──► expired
 *                      │               │ ├─ discard ───► cancelled
 *   retrying ◄─────────┼──── retry ────┘ │                ▲
 *       │ └─ start ─► running            │                │
 *       └──────────────┴──── cancel ─────┴────────────────┘
 *
 *   dead ── retried ─► queued, dead ── cancel ─► cancelled
 */
#ifndef TASKD_LIFE_H
#define TASKD_LIFE_H

#include "taskring/taskring.h"

enum task_event {
	EV_DUE,         /* its time has come */
	EV_START,       /* a worker begins an attempt */
	EV_SUCCEEDED,
	EV_RETRY,       /* the verdict: another attempt */
	EV_BURY,        /* the verdict: dead */
	EV_DISCARD,     /* the verdict: nobody needs to look */
	EV_SNOOZE,      /* the handler put it off */
	EV_INTERRUPTED, /* taskd ended, or took the work back */
	EV_CANCEL,
	EV_EXPIRE,
	EV_RETRIED,     /* somebody asked for it, of a dead one */
	TASK_EVENTS
};

/* The state after the event; TR_STATES when the event cannot happen in that state. Pure. */
enum tr_state task_step(enum tr_state state, enum task_event event);

#endif
