from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView
from django.shortcuts import redirect, render
from django.urls import path


@login_required
def notes(request):
    kept = request.session.setdefault('notes', [])
    if request.method == 'POST':
        request.session['notes'] = [*kept, request.POST['note']]
        return redirect('notes')
    return render(request, 'notes.html', {'user': request.user, 'notes': kept})


urlpatterns = [
    path('login/', LoginView.as_view(template_name='login.html'), name='login'),
    path('', notes, name='notes'),
]
