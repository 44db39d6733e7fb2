/* Ricker's mode 1 loops and fixed-step Runge-Kutta around the Tennessee Eastman kernel of tep-studio, for speed only.
 *
 * The kernel is not here: its functions come in as pointers. Steps, order and arithmetic are those of tep-studio's own Python
 * loop, so both give the same numbers. Times in h. */

typedef struct {
    void (*set_inputs)(void *, const double *, const double *);
    int (*derivatives)(void *, double, const double *, double *);
    int (*outputs)(void *, double, const double *, double *, double *, double *, double *, double *);
    double (*shutdown)(void *);
} kernel_t;

enum { A, C, D, E, PURGE, SEP_FLOW, STRIP_FLOW, PRODUCTION, LEVEL, PRESSURE, TEMPERATURE, SEP_LEVEL, SEP_TEMPERATURE, STRIP_LEVEL,
       YA, YAC, LOOPS };

typedef struct { /* one row of the registry and the memory of the loop */
    double kc, ti, ts, lo, hi, output, error, last;
} loop_t;

typedef struct {
    loop_t loop[LOOPS];
    double setpoint[LOOPS]; /* of the outer loops */
    double r1, r2, r3, r4, base;
    double fixed[3];    /* recycle valve, steam valve, agitator */
    double state[50], measured[41], added[32], drivers[21], monitor[62], composition[96], time, interval, step;
    double valves[12], idv[28];
    double *walk;       /* 20 each of value, slope, quadratic, cubic, from, until: the kernel's random walks; or 0 */
} plant_t;

static double increment(loop_t *l, double setpoint, double measured, double now) {
    double dt = now - l->last, error = setpoint - measured;
    double delta = l->kc * (error - l->error + (dt / l->ti) * error);
    l->error = error;
    l->last = now;
    return delta;
}

static double act(plant_t *p, int i, double setpoint, double measured) {
    loop_t *l = &p->loop[i];
    if (p->time - l->last >= l->ts - 1e-9) {
        double value = l->output + increment(l, setpoint, measured, p->time);
        l->output = value < l->lo ? l->lo : value > l->hi ? l->hi : value;
    }
    return l->output;
}

static double trim(plant_t *p, int i, double measured) {
    loop_t *l = &p->loop[i];
    return p->time - l->last >= l->ts - 1e-9 ? increment(l, p->setpoint[i], measured, p->time) : 0.0;
}

static void control(plant_t *p) {
    const double *m = p->measured, *s = p->setpoint;
    double fp = p->base + act(p, PRODUCTION, s[PRODUCTION], m[16]);
    double total = m[22] + m[24];
    double d_ya = trim(p, YA, total != 0.0 ? 100.0 * m[22] / total : 0.0);
    double d_yac = trim(p, YAC, total);
    p->r1 += d_ya;
    p->r4 += d_yac - d_ya;
    double cold = act(p, LEVEL, s[LEVEL], m[7]);
    double r6 = act(p, SEP_LEVEL, s[SEP_LEVEL], m[11]);
    double r7 = act(p, STRIP_LEVEL, s[STRIP_LEVEL], m[14]);
    double r5 = act(p, PRESSURE, s[PRESSURE], m[6]);
    double *v = p->valves;
    v[10] = act(p, SEP_TEMPERATURE, cold, m[10]);
    v[9] = act(p, TEMPERATURE, s[TEMPERATURE], m[8]);
    v[2] = act(p, A, p->r1 * fp, m[0]);
    v[3] = act(p, C, p->r4 * fp, m[3]);
    v[0] = act(p, D, p->r2 * fp, m[1]);
    v[1] = act(p, E, p->r3 * fp, m[2]);
    v[5] = act(p, PURGE, r5 * fp, m[9]);
    v[6] = act(p, SEP_FLOW, r6 * fp, m[13]);
    v[7] = act(p, STRIP_FLOW, r7 * fp, m[16]);
    v[4] = p->fixed[0];
    v[8] = p->fixed[1];
    v[11] = p->fixed[2];
    for (int i = 0; i < 12; i++) v[i] = v[i] < 0.0 ? 0.0 : v[i] > 100.0 ? 100.0 : v[i];
}

static void integrate(const kernel_t *k, void *handle, plant_t *p) {
    double end = p->time + p->interval, t = p->time, k1[50], k2[50], k3[50], k4[50], y[50], *s = p->state;
    int n = (int)((end - t) / p->step + 0.5);
    double h = (end - t) / n;
    for (int j = 0; j < n; j++) {
        k->derivatives(handle, t, s, k1);
        for (int i = 0; i < 50; i++) y[i] = s[i] + (0.5 * h) * k1[i];
        k->derivatives(handle, t + 0.5 * h, y, k2);
        for (int i = 0; i < 50; i++) y[i] = s[i] + (0.5 * h) * k2[i];
        k->derivatives(handle, t + 0.5 * h, y, k3);
        for (int i = 0; i < 50; i++) y[i] = s[i] + h * k3[i];
        k->derivatives(handle, t + h, y, k4);
        for (int i = 0; i < 50; i++) s[i] = s[i] + (h / 6.0) * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]);
        t += h;
    }
    p->time = end;
}

/* Run `samples` samples of `per` control intervals. `pressure`: set-point by sample. `given` [samples][3], if not null: mean by
 * sample of the separator's cooling water temperature and both kinetic factors, in place of the kernel's own random walks (5, 6,
 * 7), linear in between. `out` [samples][65]: means of 41 + 8 measurements, 12 valves, cost, true drivers (same three). Returns the number of samples done; fewer after a shutdown. */
int tep_run(const kernel_t *k, void *handle, plant_t *p, int samples, int per, const double *pressure, const double *given,
            double *out) {
    double width = per * p->interval, begun = p->time;
    for (int n = 0; n < samples; n++) {
        double *o = out + 65 * n;
        for (int i = 0; i < 65; i++) o[i] = 0.0;
        p->setpoint[PRESSURE] = pressure[n];
        for (int j = 0; j < per; j++) {
            control(p);
            k->set_inputs(handle, p->valves, p->idv);
            if (given) {
                double at = (p->time - begun) / width - 0.5 * (per + 1) / per;
                int low = at < 0 ? 0 : at >= samples - 1 ? samples - 2 : (int)at;
                at = at < 0 ? 0 : at > samples - 1 ? samples - 1 : at;
                for (int d = 0; d < 3; d++) {
                    double left = given[3 * low + d], right = given[3 * (low + 1) + d];
                    double *w = p->walk + 5 + d;
                    w[0] = left + (at - low) * (right - left);
                    w[20] = at > 0 && at < samples - 1 ? (right - left) / width : 0.0;
                    w[40] = w[60] = 0.0;
                    w[80] = p->time;
                    w[100] = 1e30;
                }
            }
            integrate(k, handle, p);
            k->outputs(handle, p->time, p->state, p->measured, p->added, p->drivers, p->monitor, p->composition);
            if (k->shutdown(handle) != 0.0) return n;
            for (int i = 0; i < 41; i++) o[i] += p->measured[i] / per;
            for (int i = 0; i < 8; i++) o[41 + i] += p->added[i] / per;
            for (int i = 0; i < 12; i++) o[49 + i] += p->valves[i] / per;
            o[61] += p->monitor[60] / per;
            for (int d = 0; d < 3; d++) o[62 + d] += p->drivers[6 + d] / per;
        }
    }
    return samples;
}
