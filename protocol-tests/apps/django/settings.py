import os

DEBUG = True
SECRET_KEY = 'of a test'
ROOT_URLCONF = 'urls'
LOGIN_REDIRECT_URL = 'notes'
LOGIN_URL = 'login'
# The path of the tunnel, if visitors come by one.
FORCE_SCRIPT_NAME = os.environ.get('BASE') or None
INSTALLED_APPS = ['django.contrib.auth', 'django.contrib.contenttypes', 'django.contrib.sessions']
MIDDLEWARE = [
    'django.contrib.sessions.middleware.SessionMiddleware',
    'django.middleware.common.CommonMiddleware',
    'django.middleware.csrf.CsrfViewMiddleware',
    'django.contrib.auth.middleware.AuthenticationMiddleware',
]
TEMPLATES = [{'BACKEND': 'django.template.backends.django.DjangoTemplates', 'DIRS': ['templates']}]
DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': 'db.sqlite3'}}
DEFAULT_AUTO_FIELD = 'django.db.models.BigAutoField'
