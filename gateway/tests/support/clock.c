/* A wall clock that a test sets, preloaded into a gateway: CLOCK_REALTIME is moved by the first number of the file that
 * TEST_CLOCK names, and the kernel's word on who keeps it is the second. All else, the monotonic clock above all, is left
 * alone. The gateway itself knows nothing of it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

struct set {
    volatile int64_t moved_us;
    volatile int64_t kept;
};

static struct set *set;

__attribute__((constructor)) static void look(void)
{
    const char *name = getenv("TEST_CLOCK");
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    void *mapped = file < 0 ? MAP_FAILED : mmap(0, sizeof *set, PROT_READ, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED)
        abort();
    set = mapped;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *at)
{
    int done = syscall(SYS_clock_gettime, clock, at);
    if (done == 0 && clock == CLOCK_REALTIME && set) {
        int64_t us = at->tv_sec * INT64_C(1000000) + at->tv_nsec / 1000 + set->moved_us;
        at->tv_sec = us / 1000000;
        at->tv_nsec = us % 1000000 * 1000;
    }
    return done;
}

int adjtimex(struct timex *status)
{
    int done = syscall(SYS_adjtimex, status);
    if (done < 0 || !set)
        return done;
    if (set->kept)
        status->status &= ~STA_UNSYNC;
    else
        status->status |= STA_UNSYNC;
    return set->kept ? TIME_OK : TIME_ERROR;
}
