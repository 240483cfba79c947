const notes = [];

export const load = () => ({ notes });

export const actions = {
  default: async ({ request }) => {
    notes.push((await request.formData()).get('note'));
  },
};
