/* The endpoints, each in a file of its own, and the schemas of their bodies. Known to routes.c only. */
#ifndef APP_ENDPOINTS_H
#define APP_ENDPOINTS_H

#include "app/web.h"

/* endpoint_register.c */
web_endpoint post_register;
extern const struct schema signup_schema;

/* endpoint_calculations.c */
web_endpoint post_calculation;
extern const struct schema calculation_schema;

/* endpoint_callbacks.c */
web_endpoint post_callback;
extern const struct schema callback_schema;

/* endpoint_files.c */
web_endpoint post_file;

/* endpoint_task.c: one task */
web_endpoint get_task;

/* endpoint_tasks.c: many */
web_endpoint get_tasks;
extern const struct schema_field tasks_query[];

/* endpoint_events.c: what happens to one, or to many */
web_endpoint get_events, get_task_events;
extern const struct schema_field events_query[];

/* endpoint_steer.c; `unfit`: what is said of a task in a state that does not allow it */
typedef enum tr_result steer_fn(struct taskring *ring, const struct tr_id *id);
web_endpoint delete_task, post_task_discard, post_task_run;
struct web_answer steer_task(const struct web_request *request, steer_fn *command, const char *unfit);

/* endpoint_retry.c */
web_endpoint post_task_retry;
extern const struct schema retry_schema, retried_schema;

/* endpoint_steer_many.c */
web_endpoint post_cancel_many, post_retry_many, post_discard_many, post_run_many;
extern const struct schema_field steer_query[];
extern const struct schema steer_many_schema;

/* endpoint_submit.c */
web_endpoint post_tasks;
extern const struct schema new_tasks_schema;
extern const struct schema_field new_tasks_query[];

/* endpoint_queue.c */
web_endpoint post_queue_pause, post_queue_resume;
extern const struct schema queue_asked_schema;

/* endpoint_session.c */
web_endpoint post_login, post_logout, get_session;
extern const struct schema login_schema, session_schema;

/* endpoint_signups.c */
web_endpoint get_signups;
extern const struct schema_field signups_query[];
extern const struct schema signups_schema;

/* endpoint_health.c */
web_endpoint get_health;
extern const struct schema health_schema;

/* endpoint_metrics.c */
web_endpoint get_metrics;
extern const struct schema_field metrics_query[];

/* endpoint_openapi.c */
web_endpoint get_openapi;

/* endpoint_stats.c, endpoint_history.c, endpoint_queues.c, and so on: how the instance is, and was */
web_endpoint get_stats, get_history, get_queues, get_handlers, get_workers, get_ring;
extern const struct schema_field history_query[];
extern const struct schema stats_schema, history_schema, queues_schema, handlers_schema, workers_schema, ring_schema;

/* task_json.c: what several of them answer */
extern const struct schema accepted_schema, task_schema, task_list_schema, steered_schema;

#endif
