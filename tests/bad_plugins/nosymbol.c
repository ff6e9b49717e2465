/* A shared object, but no plug-in. */
extern int something_else;
int something_else = 1;
