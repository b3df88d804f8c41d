/** A presence member as cases write one: `"ann"` stands for the user ann with the name Ann. */
export function asMember(user) {
  if (typeof user !== "string") return user;
  return { user_id: user, user_info: { name: user[0].toUpperCase() + user.slice(1) } };
}
