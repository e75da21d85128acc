"""Guards round model calls. Each is a `Call` that wraps a `Call`.

The order, from the outside in:

    Told → Middleware → Fallback → Retry → Breaker → RateLimit → Capacity → Deadline → adapter

So middleware sees a call once, however often it is tried; the next model is asked only when retries are used
up; an open circuit costs no slot; and the deadline is one attempt's, without the wait for a slot.

`guards` makes what stands from Retry inwards, for one model; `whole` what stands round that.
"""
