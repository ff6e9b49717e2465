/*
 * POST /files: a file, as a form's field `file` or as the body itself, streamed into the spool as it
 * arrives. The task owns it: taskd deletes it when the task has ended.
 */
#include "app/endpoints.h"

struct web_answer post_file(const struct web_request *request, struct background_tasks *background)
{
	struct upload *upload = request->upload;
	json_t *args = json_pack("{s:s, s:s, s:I}", "name", upload->name, "content_type", upload->content_type,
	    "bytes", (json_int_t)upload->bytes);
	if (args == NULL)
		return answer_result(TR_NO_MEMORY, NULL);
	enum tr_result result = web_add_task(request, background, "digest_file", args, NULL);
	json_decref(args);
	if (result == TR_OK)
		result = background_tasks_attach(background, upload_take(upload));
	return result == TR_OK ? answer_accepted(request, background) : answer_result(result, NULL);
}
