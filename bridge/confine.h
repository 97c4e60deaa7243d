#ifndef CONFINE_H
#define CONFINE_H

/* What the bridge gives up for good once it runs. It may connect, look up names and check
 * certificates. It executes nothing, starts no process, takes no connections, looks into no
 * process and signals none; whatever tries is killed. Where the kernel has Landlock (5.13) it
 * reads only what looking up names and checking certificates takes, and changes no file. Nobody
 * else's process can read its memory. 0, or -1 with one line logged. */
int confine(void);

#endif
