# What stands for an image of Docker's library and for the package index behind its pip: a base made
# of Debian's packages, and a directory of wheels. Nothing leaves the machine.
FROM base
COPY wheels /wheels
ENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore \
    PIP_DISABLE_PIP_VERSION_CHECK=1
# In that image pip may install, in Debian's it may not.
ENV PIP_BREAK_SYSTEM_PACKAGES=1
# So that an image grows by what is put into it, not by what an interpreter compiles on the way.
ENV PYTHONDONTWRITEBYTECODE=1
