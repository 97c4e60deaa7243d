#ifndef FILES_H
#define FILES_H

#include "base/http.h"

/* Answers a request for a file of the dashboard, or for the schema, as files of struct http_policy. The
 * caller has made *a an answer with status 200 and without a body; the body that it gets is static.
 * False: there is no such file, or at "/" the client takes no page. */
bool files_answer(struct http_answer *a, const struct ws_request *r);

#endif
