export default function Linked() {
  return <p id="linked">before</p>;
}
