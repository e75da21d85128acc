"""The tools of the chat model: what it may do besides saying something.

box         all of them by name; who may use which, checked arguments, mistakes as results
approval    what a person has to allow first
kit         those of one turn, with what they began in it
steps       how many steps a turn may take, and when the model is told to wrap up
polls       "still running", said again and again, shown once

machine     scripts and terminals                 media       pictures out of the work directory
subagents   other sessions, asked by this one     pushing     resources for the caller
context     this session's own history            looking     sessions, cards, the time
own         the operator's own tools
"""
